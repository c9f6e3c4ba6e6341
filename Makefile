# Everything CI does, a person can do: make run, make test, make check.
PYTHON ?= python3
BIN := .venv/bin
CHROMIUM := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

.PHONY: run test check bench resolve setup setup-dev browser

run: setup
	$(BIN)/python -m streamlit run app.py

test: setup-dev browser
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

check: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup-dev browser
	OMP_NUM_THREADS=1 $(BIN)/python -m mixviz.bench

# Do the requirements resolve for everybody we promise? Needs the package index.
resolve: setup-dev
	for python in 3.11 3.12 3.13; do \
		for platform in x86_64-manylinux_2_28 aarch64-apple-darwin x86_64-pc-windows-msvc; do \
			$(BIN)/uv pip compile -q --python-version $$python --python-platform $$platform \
				requirements-dev.txt -o /dev/null && echo "$$python $$platform resolves" || exit 1; \
		done; \
	done

setup: .venv/runtime
setup-dev: .venv/dev

.venv/bin/python:
	$(PYTHON) -m venv .venv

# The last line compiles the solvers into numba's disk cache, so that no visitor waits for it.
.venv/runtime: requirements.txt mixviz/core/cut.py mixviz/core/assign.py | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -c "from mixviz.core.compiled import warm; warm()"
	touch $@

.venv/dev: requirements-dev.txt requirements-train.txt .venv/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# The browser tests drive the system's Chromium: fetched where that is possible, else asked for.
browser:
ifeq ($(CHROMIUM),)
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq chromium; \
	else \
		echo "The browser tests need Chromium: install it (Debian: sudo apt install chromium)." >&2; \
		exit 1; \
	fi
endif
