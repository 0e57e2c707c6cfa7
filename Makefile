# Every target sets up what it needs on a machine with Python 3.11, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
# Import paths of tools that run outside the editable install.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo serve test test-fast check format clean
.DEFAULT_GOAL := help

help:  ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): about 7 GB, some minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

install: $(STAMP)  ## Install everything into .venv.

demo: $(STAMP)  ## The whole path on this machine, photographs to a filled hole over HTTP.
	$(BIN)/python jobs/demo.py

serve: demo/release/config.json  ## Serve the demo's release on 127.0.0.1:8000 until Ctrl-C.
	$(BIN)/python jobs/serve.py

demo/release/config.json: | $(STAMP)
	$(BIN)/python jobs/demo.py

check: $(STAMP)  ## Format, lint, types, architecture.
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	PYTHONPATH=platform:. $(BIN)/lint-imports

test: $(STAMP)  ## All tests.
	$(BIN)/pytest

test-fast: $(STAMP)  ## Tests that start no cluster.
	$(BIN)/pytest -m "not ray and not slow"

format: $(STAMP)  ## Format and mend what can be mended.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

clean:  ## Remove what the demo wrote.
	rm -rf demo
