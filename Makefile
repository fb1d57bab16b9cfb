# Two commands on a fresh machine with Python 3.11, git and make: `make repro` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.setup-done
UV_VERSION := 0.13.8
TORCH := torch==2.13.0

export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS = 1
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false

.DEFAULT_GOAL := help
.PHONY: help setup setup-tensorflow setup-benchmarks setup-tests setup-llama-cpp repro report ui check repro-all test test-nightly lock clean

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(SETUP) ## Install what requirements.lock pins into .venv

# torch comes first and through pip: a user's own index or wheel decides between its CPU and CUDA builds.
# The rest is installed without resolving: docs/decisions/0002-dependencies.md.
$(SETUP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || { \
	  echo "bardlet: Python 3.11 is needed and '$(PYTHON)' is not it: install it, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	grep -v '^torch==' requirements.lock > $(VENV)/without-torch.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r $(VENV)/without-torch.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q -j 0 $(VENV)/lib/python3.11/site-packages/torch $(VENV)/lib/python3.11/site-packages/transformers >/dev/null || true
	touch $@

repro: setup ## Build, verify, benchmark, judge and release the fleet
	bardlet validate
	dvc repro
	bardlet report

# What the nightly build has beside the fleet. DVC writes these lines into params.yaml; `git checkout params.yaml` takes them out.
BESIDE := digits-mobilenet=image_classification digits-shufflenet=image_classification bard-long=causal_lm

repro-all: setup ## The same with the models that take long or show one thing: an hour and more
	dvc exp run $(foreach one,$(BESIDE),--set-param '+fleet.$(one)')
	bardlet report

report: setup ## Write artifacts/report/index.html
	bardlet report

ui: setup ## Start Prefect's UI on http://127.0.0.1:4200 and serve the nightly build
	bardlet serve

check: setup ## Lint, format, types and layers
	ruff check .
	ruff format --check .
	mypy
	lint-imports --no-cache

test: setup-tests ## Run the tests
	python -m pytest -m "not slow"

setup-tensorflow setup-benchmarks setup-tests setup-llama-cpp: setup-%: setup ## Add an optional extra: TensorFlow for SavedModel teachers, what benchmarks/ needs, or the S3 server of the tests
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements-$*.lock

test-nightly: setup-tests ## Run all tests, those that take minutes too
	python -m pytest

lock: setup ## Resolve requirements.lock anew from pyproject.toml
	$(BIN)/python tools/lock.py

clean: ## Remove the environment and caches; artifacts stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
