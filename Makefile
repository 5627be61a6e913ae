# Two entry points for people: `make fit` and `make test`. Both set up .venv first, once.
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
OLDEST := $(VENV)-oldest
# The first of these that runs and is 3.11 to 3.13; override with `make setup PYTHON=/path/to/python`.
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11)
STAMP := $(VENV)/.set-up
# What the tests need besides the default installation; `make setup` installs these and what builds the documentation.
TESTED := dev,report,video
COMMA := ,

.PHONY: help setup fit test oldest docs lock audit

help:
	@echo "make fit     set up, then fit the two-component example (python -m gmm_pipeline fit optimizer=adam steps=1000)"
	@echo "make test    set up, then run every check and test"
	@echo "make oldest  the quick tests with the oldest versions that pyproject.toml allows, in $(OLDEST)"
	@echo "make docs    set up, then build the documentation into site/"
	@echo "make setup   the virtual environment $(VENV) with the locked dependencies and this package"
	@echo "make audit   ask the vulnerability database about the locked versions (needs the network)"
	@echo "make lock    resolve requirements.lock anew after a change of pyproject.toml"

setup: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	@set -eu; \
	for candidate in $(CANDIDATES); do \
	  if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then \
	    python=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$${python:-}" ]; then \
	  echo "setup: none of [$(CANDIDATES)] is a Python 3.11, 3.12 or 3.13 with venv; install one or name it: make setup PYTHON=/path/to/python" >&2; exit 2; \
	fi; \
	echo "setup: $(VENV) with $$($$python --version)"; \
	"$$python" -m venv --clear $(VENV); \
	awk '/^[a-z]/ { wanted = /^uv==/ } wanted' requirements.lock > $(VENV)/uv.lock; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.lock; \
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes --requirement requirements.lock; \
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .; \
	$(BIN)/python -m compileall -q gmm_pipeline hydra_plugins; \
	touch $@

fit: setup
	$(BIN)/python -m gmm_pipeline fit optimizer=adam steps=1000

# Types are checked beside the tests: on one core, which the other checks and the start of the tests leave idle. What it
# says stands in one piece, as soon as it is known and again at the end where types are wrong.
test: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	{ $(BIN)/basedpyright --level error >$(VENV)/types.log 2>&1 || { code=$$?; cat $(VENV)/types.log >&2; exit $$code; }; } & types=$$!; \
	$(BIN)/python -m pytest || tests=$$?; \
	wait $$types || { types=$$?; cat $(VENV)/types.log >&2; exit $$types; }; \
	tail -n 1 $(VENV)/types.log; exit $${tests:-0}

# What depends on the versions of libraries: files and tables (PyArrow, NumPy), pictures and films (Matplotlib), pages,
# MLflow's public calls, and fits and sweeps from a file to labels and a model (JAX, Hydra). How rows are written into
# MLflow's tables is of its newer versions, and has its own calls as the fallback that is tested here.
QUICK := $(patsubst %,tests/records/test_%.py,tables datasets files multivariate several_columns sweep_table) \
  tests/pictures/test_record_figures.py tests/tracking/test_loggable.py tests/tracking/test_models.py

oldest: $(OLDEST)/.set-up
	$(OLDEST)/bin/python -m pytest $(QUICK)

$(OLDEST)/.set-up: pyproject.toml $(STAMP)
	$(BIN)/uv venv --quiet --clear --no-python-downloads --python 3.11 $(OLDEST) 2>/dev/null || \
	  $(BIN)/uv venv --quiet --clear --python $(BIN)/python $(OLDEST)
	VIRTUAL_ENV=$(OLDEST) $(BIN)/uv pip install --quiet --resolution lowest-direct --editable ".[$(TESTED)]"
	touch $@

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# Not part of the tests, whose outcome must not depend on the network. pip-audit lives in an environment of its own.
audit: setup
	timeout 120 $(BIN)/uv tool run --quiet pip-audit --strict --requirement requirements.lock --require-hashes --disable-pip --timeout 10 || { \
	  code=$$?; echo "audit: see above: vulnerable versions, or no answer from the database" >&2; exit $$code; }

lock: setup
	$(BIN)/uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 $(patsubst %,--extra %,$(subst $(COMMA), ,$(TESTED),docs,dvc)) --generate-hashes \
	  --no-header --no-annotate --output-file requirements.lock pyproject.toml
