# One word for each job. The virtual environment is made on first use; VENV=path chooses another place.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PLUGINS := $(wildcard plugins/*/pyproject.toml examples/*/pyproject.toml)
INSTALLED := $(VENV)/.installed

.PHONY: demo test lint docs dist benchmark gpu-check clean

demo: $(INSTALLED)  ## train source-only, ProCA and its matched control on the embedded domains; table and picture
	$(BIN)/python examples/demo.py

test: $(INSTALLED) lint  ## everything that CI checks; a process a core, since small tensors gain nothing from threads
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder

lint: $(INSTALLED)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/mypy udacore $(patsubst %/__init__.py,%,$(wildcard plugins/*/udacore_*/__init__.py examples/*/udacore_*/__init__.py))

docs: $(INSTALLED)  ## the documentation as web pages, docs/_build/index.html; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build

dist: $(INSTALLED)  ## wheels and source distributions of the core and all plugins, in dist/
	$(BIN)/python .ci/dist.py dist

benchmark: $(INSTALLED)  ## several seeds of every row; writes benchmarks/RESULTS.md (takes long)
	$(BIN)/python benchmarks/streets.py threads=1

gpu-check: $(INSTALLED)  ## what only a CUDA device can show: same numbers as the CPU, bit-equal repeats, speed
	@$(BIN)/python -c "import sys, torch; torch.cuda.is_available() or sys.exit('gpu-check: torch finds no CUDA device here')"
	$(BIN)/python -m pytest -q tests/gpu/check_cuda.py
	$(BIN)/python benchmarks/speed.py --device cuda --write benchmarks/SPEED-cuda.md

$(INSTALLED): pyproject.toml $(PLUGINS)
	$(PYTHON) -m venv $(VENV)
	$(PIP) 'setuptools>=77'
	$(PIP) --no-build-isolation -e '.[dev,docs]' $(foreach plugin,$(PLUGINS),-e $(dir $(plugin)))
	touch $(INSTALLED)

clean:  ## remove the environment and what runs left behind
	rm -rf $(VENV) runs build dist docs/_build
