# Casparian: `make` lists the targets. Everything works on a fresh machine with Python 3.11, make and pip.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := build/demo
# Of the tests: one more than the cores of a small machine, because many of them wait.
WORKERS ?= 3
# Of all tests: tests.again asks a few that failed again, alone.
RUNNER ?= pytest
# The tests start some thousand processes: where each has to compile the project anew, it takes twice as long to start.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long mutants lint format docs bench golden lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1|/' | column -t -s '|'

$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11, or say make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

setup: $(READY) ## make the virtual environment with everything pinned by hash

demo: $(READY) ## make a small case, run the main job on it, show the tables and where they came from
	@BIN=$(BIN) DEMO=$(DEMO) sh fixtures/demo.sh

test: $(READY) ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

test-long: $(READY) ## run all tests, the slow ones too
	$(BIN)/python -m $(RUNNER) -n $(WORKERS) --dist worksteal

mutants: $(READY) ## put each deliberate fault into a copy of the code and run the test that must find it
	$(BIN)/python -m tests.mutants

lint: $(READY) ## check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## put the code into the one style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY) ## write the reference pages and the outputs in README and the tutorial from what the code does now
	$(BIN)/python -m docs.generate
	$(BIN)/python -m docs.rerun --write

bench: $(READY) ## measure: ratios of two sides, interleaved in one run
	$(BIN)/python -m benchmarks

golden: $(READY) ## make the golden tapes anew and add to the shapes that were released; the difference is reviewed
	$(BIN)/python -m fixtures.log.released
	$(BIN)/python -m fixtures.tapes.make
	git --no-pager diff --stat -- fixtures

lock: ## pin the newest allowed versions of every dependency, with hashes
	$(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml -o requirements.lock

clean: ## remove the virtual environment and everything that was built
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
