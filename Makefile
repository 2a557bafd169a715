# One word for each job. The virtual environment is made on first use; VENV=path chooses another place.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PLUGINS := $(wildcard plugins/*/pyproject.toml examples/*/pyproject.toml)
INSTALLED := $(VENV)/.installed
# Where the plugins' folders lie whose tests are run; .ci/run names a copy of them
PLUGIN_FOLDERS ?= plugins
# The oldest torch that pyproject.toml allows, in an environment of its own, which may be kept between calls
OLDEST ?= .venv-oldest
OLDEST_TORCH := torch==2.6.0 torchvision==0.21.0
OLDEST_TESTS := tests/engine/test_processes.py tests/engine/test_resume_anyway.py tests/engine/test_step.py tests/engine/test_parts.py \
	tests/engine/test_checkpoint.py tests/models tests/test_losses.py tests/test_pseudo_labels.py tests/test_interface.py \
	plugins/clp/tests/test_losses.py plugins/pycda/tests/test_ranks.py plugins/proca/tests/test_ranks.py plugins/bdl/tests/test_contract.py

.PHONY: demo test test-oldest adaptation faults lint docs dist benchmark gpu-check clean

demo: $(INSTALLED)  ## train source-only, ProCA and its matched control on the embedded domains; table and picture
	$(BIN)/python examples/demo.py

test: $(INSTALLED) lint  ## what CI checks: all tests but those marked long; a process a core, since small tensors gain nothing from threads
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not long" tests $(PLUGIN_FOLDERS) examples

test-oldest: $(OLDEST)/.installed  ## processes, contract, resume and core under the oldest torch that is allowed
	OMP_NUM_THREADS=1 timeout 900 $(OLDEST)/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not long" $(OLDEST_TESTS)

adaptation: $(INSTALLED)  ## every method gains over its matched control in short runs, and broken copies of it do not
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile tests/test_adaptation.py plugins/*/tests/test_adaptation.py

faults: $(INSTALLED)  ## what is long: the tests marked so, adaptation among them, every bad value, kills at random instants of six methods
	UDACORE_FAULTS=full OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m long tests plugins examples
	UDACORE_FAULTS=full OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not long" tests/bad_input/test_values_of_any_shape.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/faults/check_kills.py  # by itself: beside its folder pytest drops a file

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

$(OLDEST)/.installed: pyproject.toml $(PLUGINS)
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check 'setuptools>=77' pytest pytest-xdist $(OLDEST_TORCH)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e . \
		$(foreach plugin,$(filter plugins/%,$(PLUGINS)),-e $(dir $(plugin)))
	touch $@

clean:  ## remove the environment and what runs left behind
	rm -rf $(VENV) $(OLDEST) runs build copies dist docs/_build
