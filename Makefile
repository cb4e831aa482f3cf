# The same commands for people and for CI. Each works on a fresh machine: it makes .venv and installs what is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench clean

help:  ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	# torch first and by its exact version: another package asking for it would bring the CUDA build.
	$(BIN)/python -m pip install --quiet -c constraints.txt torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED)  ## The whole idea on phantom brains in a few minutes: demo-out/report.html
	$(BIN)/monai-advenc demo --out demo-out

test: $(INSTALLED)  ## All tests but the slow ones
	$(BIN)/python -m pytest -q

test-slow: $(INSTALLED)  ## All tests
	$(BIN)/python -m pytest -q -m "slow or not slow"

check: $(INSTALLED)  ## Format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

bench: $(INSTALLED)  ## Ratios of encryption speed in one interleaved run
	$(BIN)/python -m benchmarks

clean:  ## Remove what make and the demo made
	rm -rf $(VENV) demo-out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
