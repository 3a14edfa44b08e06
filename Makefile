# make demo | test | bench | lint | clean. PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Each process would compile the packages again where Python is told to keep no bytecode.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo test bench lint clean
.DEFAULT_GOAL := demo

demo: $(STAMP)
	$(BIN)/scyc-sweep oracle

test: lint
	$(PYTEST) -m "not ray and not cluster" --numprocesses auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder
	$(PYTEST) -m "ray or cluster" --numprocesses 2 --dist loadfile --no-loadscope-reorder

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python tests/benchmarks/data.py
	$(BIN)/python tests/benchmarks/door.py
	$(BIN)/python tests/benchmarks/flips.py
	$(BIN)/python tests/benchmarks/lanes.py
	$(BIN)/python tests/benchmarks/oracle.py
	$(BIN)/python tests/benchmarks/plan.py
	$(BIN)/python tests/benchmarks/naive.py
	$(BIN)/python tests/benchmarks/tuning.py
	$(BIN)/python tests/benchmarks/overhead.py
	$(BIN)/python tests/benchmarks/fleet.py

# Exact versions that are tested; without make, pyproject.toml's ranges apply.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) results build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
