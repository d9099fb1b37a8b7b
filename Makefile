# Every target does its own set-up: a fresh clone needs `make demo` or `make test` and nothing before it.
#
#   PYTHON=python3.12 make test     another interpreter (3.11 or newer)
#   PIP_ARGS="..." make test        more arguments for pip, such as an index of your own

PYTHON   ?= python3
PIP_ARGS ?=
WORKERS  ?= 2

VENV := .venv
BIN  := $(VENV)/bin
BENCH := .bench-venv
PIP  := $(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -c constraints.txt

.PHONY: help demo test test-all sanitize soak check docs bench clean
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1|/' | column -t -s '|'

demo: $(VENV)/.demo  ## compile three layers, train a digit classifier with them, draw what it reads (two minutes)
	@$(BIN)/python -m examples.digits

test: $(VENV)/.dev  ## every test but the long ones
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

test-all: $(VENV)/.dev  ## every test
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

sanitize: $(VENV)/.dev  ## the compiled kernels under the address, undefined-behaviour and thread sanitizers
	@$(BIN)/python -m pytest tests/native

soak: $(VENV)/.dev  ## twenty thousand training steps among failures: nothing may grow (five minutes; ARGS="--steps 1000")
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.soak $(ARGS)

check: $(VENV)/.dev  ## format, lint, types, architecture
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.dev  ## write the pages that come from the program: atoms, structures, errors, diagnostics
	@$(BIN)/python docs/generate.py
	@$(BIN)/python -m tests.conformance.matrix.page
	@$(BIN)/python docs/compare_messages.py

bench: $(BENCH)/.bench  ## measure beside other packages and write docs/benchmarks.md (minutes; ARGS=--quick: a few works)
	@$(BENCH)/bin/python -m benchmarks $(ARGS)

clean:  ## remove what the targets made, the environment too
	@rm -rf $(VENV) $(BENCH) build dist *.egg-info examples/out .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Environments: a stamp per set of extras, older than pyproject.toml or a source of the kernels when it has to be renewed.
KERNELS := setup.py $(wildcard declarative/runtime/native/src/*)

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml constraints.txt $(KERNELS)
	@echo "installing what the demo needs into $(VENV) (PyTorch is large: minutes, the first time)"
	@$(PIP) -e ".[demo]"
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt $(KERNELS)
	@echo "installing what the tests need into $(VENV) (PyTorch is large: minutes, the first time)"
	@$(PIP) -e ".[dev]"
	@touch $@

# What is compared with has its own environment: it pins versions that the tests should not be held to.
$(BENCH)/.bench: pyproject.toml constraints.txt $(KERNELS) benchmarks/peers.txt benchmarks/peers.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with PYTHON=..." >&2; exit 1; }
	@echo "installing this package and those that it is compared with into $(BENCH) (minutes, the first time)"
	@$(PYTHON) -m venv $(BENCH)
	@$(BENCH)/bin/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[bench]"
	@$(BENCH)/bin/python -m benchmarks.peers $(PIP_ARGS) -c constraints.txt
	@touch $@
