# The same commands for people and for CI. Each works on a fresh machine: it makes .venv and installs what is missing.
# Another Python (3.10 or newer): make PYTHON=python3.12 ...

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP_INSTALL := $(BIN)/python -m pip install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check docs figures bench clean

help:  ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0] + "; try make PYTHON=python3.12" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)
	# First torch, by far the largest download, and what the second step builds with: pinned like all the rest.
	$(PIP_INSTALL) setuptools torch
	$(PIP_INSTALL) --no-build-isolation -e '.[dev]'
	@touch $@

demo: $(INSTALLED)  ## Run the whole method on phantom brains in 4 to 15 minutes: demo-out/report.html
	$(BIN)/monai-advenc demo --out demo-out

check: $(INSTALLED)  ## Check format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py
	$(BIN)/python scripts/check_commit_subjects.py

# Two processes, with the tests of a file in one: most tests keep one core busy, and files share what they set up. Each
# computes with one thread, or four threads would wait for each other on two cores. Files come in the order of their
# names, whose last ones are short; by the number of their tests, a few long ones would be left for one process.
test: $(INSTALLED)  ## Run all tests but the slow ones; those of a topic: make test K=dicom
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder $(if $(K),-k "$(K)")

test-slow: $(INSTALLED)  ## Run all tests, property tests on new examples; notebooks, wheel and site too
	$(PIP_INSTALL) --no-build-isolation -e '.[docs,notebook]'
	MONAI_ADVENC_NEW_EXAMPLES=1 $(BIN)/python -m pytest -q -m "slow or not slow"

docs: figures  ## Build the site with search, commands and Python reference: build/site/index.html
	$(PIP_INSTALL) --no-build-isolation -e '.[docs]'
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -c docs/site -b html . build/site

figures: $(INSTALLED)  ## Fill the figures of README, docs and CONTRIBUTING from results/ and docstrings
	$(BIN)/python -m scripts.draw_figures

bench: $(INSTALLED)  ## Measure speed next to torchattacks, Foolbox and ART; with data: make bench BENCH="--cifar10 ... --slices ..."
	$(PIP_INSTALL) --no-build-isolation -e '.[bench]'
	# torchattacks asks for torchvision, which nothing that is measured here needs.
	$(PIP_INSTALL) --no-deps torchattacks
	$(BIN)/python -m benchmarks $(BENCH)

clean:  ## Remove what these commands made
	rm -rf $(VENV) demo-out build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
