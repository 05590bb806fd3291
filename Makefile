# Every target works in a fresh clone: the virtual environment is made when it is missing.

PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
RUN := $(VENV)/bin/python

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-all test-peers notebooks bench bench-all fuzz lint types docs lock

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.ready  ## Train on the digits that ship with scikit-learn
	$(RUN) -m train.main --config configs/digits.py --workdir runs/digits

# Bytecode is written even if the environment forbids it: tests start many programs, and each would
# compile all modules again.
test test-all: export PYTHONDONTWRITEBYTECODE :=

test: $(VENV)/.ready  ## Run the tests, except those that take minutes
	$(RUN) -m pytest -n auto --maxprocesses 8 --dist loadfile

test-all: $(VENV)/.ready  ## Run all tests
	$(RUN) -m pytest -m "slow or not slow"

test-peers: $(PEERS)/.ready  ## Run the tests against PyTorch and SpikingJelly
	$(PEERS)/bin/python -m pytest tests/*/test_peers_*.py

notebooks: $(VENV)/.ready $(PEERS)/.ready  ## Execute the tutorials and write their outputs
	$(RUN) scripts/run_notebooks.py $(filter-out docs/start/08%,$(wildcard docs/start/*.ipynb))
	$(PEERS)/bin/python scripts/run_notebooks.py $(wildcard docs/start/08*.ipynb)

bench: $(PEERS)/.ready  ## Compare speed and memory with PyTorch, SpikingJelly and plain Flax
	$(RUN) -m benchmarks run W1 W3 W6 W8 --quick
	$(RUN) -m benchmarks report

bench-all: $(PEERS)/.ready  ## Compare all workloads with all libraries, which takes hours
	$(RUN) -m benchmarks run
	$(RUN) -m benchmarks report

MINUTES ?= 10

fuzz: $(VENV)/.ready  ## Try damaged files and odd configs for MINUTES=10; count them in a table
	$(RUN) -m tests.fuzz --minutes $(MINUTES) --record

lint: $(VENV)/.ready  ## Check style, formatting and language
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) scripts/check_language.py

types: $(VENV)/.ready  ## Check the type annotations
	$(RUN) -m mypy

docs: $(VENV)/.ready  ## Build the documentation into site/
	$(RUN) -m docs._build.site

# uv is not in the lock: it is needed only here, so whoever changes the dependencies installs it.
lock:  ## Resolve the dependencies again and pin them in requirements.lock
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-header \
		--no-emit-index-url --no-annotate -o requirements.lock

# The stamp comes last, so an interrupted installation is taken up again by the next make.
$(VENV)/.ready: requirements.lock
	@$(PYTHON) -c 'import sys; old = sys.version_info < (3, 11); sys.exit(old and \
		"pit_jax needs Python 3.11 or newer, but $(PYTHON) is %d.%d; name another one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	@echo "Installing the pinned requirements into $(VENV); this takes about a minute."
	@$(RUN) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# A second environment for the peers, so that the pinned one does not contain them.
$(PEERS)/.ready: $(VENV)/.ready benchmarks/peers.txt benchmarks/peers-alone.txt
	$(PYTHON) -m venv $(PEERS)
	@echo "Installing PyTorch and the other libraries into $(PEERS); this takes some minutes."
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt
	@$(PEERS)/bin/pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/peers-alone.txt
	@touch $@
