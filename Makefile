# nnunet_da: every target first makes what it needs. With all in place that adds well under a second.
#   make install PYTHON=python3.12     another interpreter (3.10 to 3.13)
#   make test JOBS=8                   more test processes

PYTHON ?= python3
JOBS ?= 2
EXTRAS ?= dev
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# one thread per test process: JOBS processes already fill the cores
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/pytest

.PHONY: help install demo test test-slow check bench bench-all clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /make \1\t/' | expand -t 20

install: $(INSTALLED)  ## the environment .venv with everything

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "error: Python 3.10 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1): make install PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install -q -c constraints.txt numpy setuptools wheel
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[$(EXTRAS)]'
	$(BIN)/python -m pip install -q -c constraints.txt --no-deps rt-utils
	@$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation pyradiomics==3.0.1 || \
		echo "note: pyradiomics 3.0.1 could not be built here (it needs Python 3.10 or 3.11 and a C compiler); all but radiomics works without it" >&2
	@touch $@

demo: install  ## the whole job on the synthetic phantom, results in demo/
	$(BIN)/nnunet-da demo -o demo --overwrite

test: install  ## default tests
	$(PYTEST) -n $(JOBS) --dist worksteal --durations=25

# pytest exits 5 when it found no test: fine while no test is marked slow, a failure once one is
test-slow: install  ## tests marked slow
	@$(PYTEST) -n $(JOBS) --dist loadfile -m slow --durations=25 -rs; status=$$?; \
	if [ $$status -eq 5 ] && ! grep -rqE 'mark\.slow' tests; then echo "no test is marked slow yet"; exit 0; fi; \
	exit $$status

check: install  ## format, lint, types, wheel
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m build --no-isolation --wheel --outdir dist .

bench: install  ## what training costs, in one table: about 11 minutes on 2 cores
	$(BIN)/python -W ignore benchmarks/bench.py

bench-all: install  ## the table, then every slow scientific script of benchmarks/
	@set -e; for script in $$(grep -l '__main__' benchmarks/*.py); do echo "== $$script"; $(BIN)/python -W ignore $$script; done

clean:  ## build products and caches; keeps .venv
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
