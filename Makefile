# Two commands on a fresh machine: `make demo` and `make test`. Each sets itself up; each is safe to repeat.

PYTHON ?= python3
VENV := .venv
REFERENCE := .venv-reference
BIN := $(VENV)/bin
DEMO := demo

.DEFAULT_GOAL := help
.PHONY: help setup demo test fuzz lint bench reference parity chaos simulate clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.installed ## make the environment in .venv and install the networks' weights

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; ok = (3, 10) <= sys.version_info < (3, 14); sys.exit(not ok and f"phoenix_ray needs Python 3.10 to 3.13; $(PYTHON) is {sys.version.split()[0]}. Say which: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo,torch,dev]'
	$(BIN)/phoenix-ray models install
	@touch $@

demo: setup ## run the main job on the built-in sample dataset, with pictures
	$(BIN)/phoenix-ray run --config demo output.path=$(DEMO)/landmarks
	$(BIN)/phoenix-ray view $(DEMO)/landmarks --sheet $(DEMO)/contact-sheet.png
	@echo
	@echo "The dataset:   $(DEMO)/landmarks          (Parquet in data/, one row per frame)"
	@echo "The pictures:  $(DEMO)/contact-sheet.png  (frames with their landmarks)"
	@echo "Look again:    $(BIN)/phoenix-ray status $(DEMO)/landmarks"

lint: setup ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## check style and types, and run the tests
	$(BIN)/pytest

fuzz: setup ## try 105,000 hostile inputs: tables, pictures, videos, settings, files of a dataset
	PHOENIX_RAY_FUZZ_CASES=105000 $(BIN)/pytest tests/fuzz --override-ini timeout=7200

reference: $(REFERENCE)/.installed ## make the environment of legacy MediaPipe, the reference for parity

$(REFERENCE)/.installed: pyproject.toml constraints-reference.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)) and f"MediaPipe 0.10.21 with these pins needs Python 3.11 or 3.12; $(PYTHON) is {sys.version.split()[0]}. Say which: make reference PYTHON=python3.11")'
	$(PYTHON) -m venv $(REFERENCE)
	$(REFERENCE)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-reference.txt --editable '.[demo,mediapipe]'
	$(REFERENCE)/bin/phoenix-ray models install
	@touch $@

SOURCE ?=
parity: reference ## compare our engine with MediaPipe itself, frame by frame: make parity SOURCE=… (default: the sample)
	$(REFERENCE)/bin/python -m phoenix_ray.bench.parity $(SOURCE)

bench: setup ## run every suite of the benchmark that this machine can; each peer gets an environment in .venv-peers
	$(BIN)/phoenix-ray bench

chaos: setup ## kill everything at every point, again and again, and write the table of docs/guarantees.md
	$(BIN)/python -m tests.chaos

simulate: setup ## try every order of the steps of drivers, repairs and readers on one dataset, with crashes (hours)
	$(BIN)/python -m tests.simulation

clean: ## remove what these commands made
	rm -rf $(VENV) $(REFERENCE) .venv-peers $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis bench-results chaos-results
