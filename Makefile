# Two commands: `make lab` opens the tour, `make test` passes the tests. Both set everything up first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: help setup lab demo test check format bundle bench docs browser clean

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# PyTorch's CPU wheels live on its own index: `make lab TORCH_INDEX=<address>` saves gigabytes on a machine without GPU.
TORCH_INDEX ?=
LAB_FLAGS := $(if $(filter 0,$(shell id -u)),--allow-root,)

help:            ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(VENV)/ready bundle   ## one .venv with everything, at the versions of constraints.txt

$(VENV)/ready: pyproject.toml constraints.txt hatch_build.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ftlab needs Python 3.11 or newer; say which: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/pip install --quiet -c constraints.txt --index-url $(TORCH_INDEX) torch,)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

bundle: $(VENV)/ready   ## build the widgets' front ends when their sources changed
	@$(BIN)/python hatch_build.py bundle

lab: setup       ## JupyterLab on the tour
	$(BIN)/jupyter lab $(LAB_FLAGS) notebooks/00_tour.ipynb

demo: setup      ## the tour headless: a before/after table, the executed notebook and a web page in build/
	$(BIN)/ftlab demo

test: setup browser   ## all tests, the browser's too
	$(BIN)/python hatch_build.py test
	$(BIN)/python -m pytest -q

check: setup     ## lint, format, types, TypeScript, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python hatch_build.py check
	$(BIN)/lint-imports

format: setup    ## mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup     ## every bench, a line each
	@$(BIN)/ftlab bench all --json

docs: setup browser   ## take the screenshots in docs/ again
	$(BIN)/python docs/screenshots.py

browser:         # Chromium for the browser tests: Debian's own package
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  echo "installing Debian's chromium for the browser tests"; \
	  sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends chromium fonts-noto-core >/dev/null || { \
	    echo "could not install chromium; install it yourself: apt-get install chromium"; exit 1; }; }

clean:           ## forget the environment and everything built
	rm -rf $(VENV) build dist ftlab/widgets/static widgets/node_modules
