from mixviz.evaluate.command import main

if __name__ == "__main__":
    raise SystemExit(main())
