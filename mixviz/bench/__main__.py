"""`python -m mixviz.bench`: see `mixviz.bench.command`."""

from mixviz.bench.command import main

if __name__ == "__main__":
    raise SystemExit(main())
