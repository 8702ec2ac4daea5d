# Two commands on a fresh machine: `make demo` and `make test`. Each sets itself up and may be repeated.

PYTHON ?= python3
VENV := .venv
REFERENCE := .venv-reference
BIN := $(VENV)/bin
DEMO := demo

.DEFAULT_GOAL := help
.PHONY: help setup setup-browser demo lint check test coverage docs docs-serve hooks fuzz test-kernels bench reference parity portability chaos simulate matrix cluster-test clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

# Each step that can fail says what to do next.
give_up = { printf '\n%s\n' "$(1)" >&2; exit 1; }
need_python = command -v $(PYTHON) >/dev/null || $(call give_up,There is no $(PYTHON). $(OTHER_PYTHON) make $(3) PYTHON=python3.12); \
	$(PYTHON) -c 'import sys; sys.exit(not ($(1)))' || $(call give_up,This needs Python $(2); $(PYTHON) is $$($(PYTHON) -V 2>&1). $(OTHER_PYTHON) make $(3) PYTHON=python3.12)
OTHER_PYTHON := Name one that fits (uv python install 3.12 or pyenv install 3.12 gets one):
NO_VENV := The environment cannot be made. On Debian and Ubuntu apt-get install python3-venv helps; or take another Python: make setup PYTHON=python3.12
NO_PACKAGES := The packages could not be installed; pip says why above. Behind a proxy set HTTPS_PROXY, with a mirror PIP_INDEX_URL, without a network PIP_NO_INDEX=1 and PIP_FIND_LINKS=FOLDER with the wheels that pip download -c constraints.txt gathered elsewhere. Then make setup again.
NO_WEIGHTS := The packages are installed, the weights of the networks are not; the message above says how to bring them by hand. Then make setup again.
NO_BROWSER := There is no Chromium. On Debian apt-get install chromium helps. Without it the tests of the viewer's page are skipped.

setup: $(VENV)/.installed ## make the environment in .venv and install the networks' weights

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(call need_python,(3, 10) <= sys.version_info < (3, 14),3.10 to 3.13,setup)
	@$(PYTHON) -m venv $(VENV) || $(call give_up,$(NO_VENV))
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[torch,onnx,dev]' || $(call give_up,$(NO_PACKAGES))
	@$(BIN)/phoenix-ray models install || $(call give_up,$(NO_WEIGHTS))
	@touch $@

setup-browser: setup ## install playwright and Chromium, with which the tests drive the viewer's page
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]' || $(call give_up,$(NO_PACKAGES))
	@command -v chromium >/dev/null || \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
			apt-get install --yes --quiet --no-install-recommends chromium; } || \
		$(BIN)/playwright install chromium || $(call give_up,$(NO_BROWSER))

demo: setup ## run the main job on the built-in sample of signing figures, with pictures and a video
	$(BIN)/phoenix-ray run --config demo output.path=$(DEMO)/landmarks
	$(BIN)/phoenix-ray view $(DEMO)/landmarks --sheet $(DEMO)/contact-sheet.png
	$(BIN)/phoenix-ray view $(DEMO)/landmarks --video train/signer07-a --mp4 $(DEMO)/signer07-a.mp4
	@echo
	@echo "The dataset:   $(DEMO)/landmarks          (Parquet in data/, one row per frame)"
	@echo "The pictures:  $(DEMO)/contact-sheet.png  (frames with their landmarks)"
	@echo "The video:     $(DEMO)/signer07-a.mp4     (one of the videos with its landmarks)"
	@echo
	@echo "Look at it in the browser:  $(BIN)/phoenix-ray view $(DEMO)/landmarks"

lint: setup ## check style, types and which module imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint ## lint, and run the fast tests: for use while you work
	$(BIN)/pytest -m "not slow and not cluster" --numprocesses auto --dist loadfile

test: lint ## lint, and run all tests: those that start Ray one by one, the others on two processors
	$(BIN)/pytest -m "not cluster" --numprocesses 2 --dist loadfile --durations=10
	$(BIN)/pytest -m cluster --durations=10

coverage: setup ## run all tests and report which lines and branches of the package they reach
	$(BIN)/pytest --cov --cov-report=term:skip-covered --cov-report=html

docs: setup ## build the documentation site into build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The site: build/site/index.html"

docs-serve: setup ## show the documentation site on http://127.0.0.1:8000 and rebuild it on every change
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

hooks: setup ## run style and file checks before each commit (pre-commit)
	$(BIN)/pre-commit install

test-kernels: setup ## run all tests of the GPU kernels, on a machine without a GPU in Triton's interpreter
	PHOENIX_RAY_ALL_KERNELS=1 $(BIN)/pytest tests/models/holistic/torch_engine --numprocesses 2 --dist load --durations=10

fuzz: setup ## try 105,000 hostile inputs: tables, pictures, videos, settings, files of a dataset
	PHOENIX_RAY_FUZZ_CASES=105000 PHOENIX_RAY_FLIPS=1000 $(BIN)/pytest tests/fuzz --override-ini timeout=7200

reference: $(REFERENCE)/.installed ## make the environment of legacy MediaPipe, the reference for parity

$(REFERENCE)/.installed: pyproject.toml constraints-reference.txt
	@$(call need_python,sys.version_info[:2] in ((3, 11), (3, 12)),3.11 or 3.12 for MediaPipe 0.10.21,reference)
	@$(PYTHON) -m venv $(REFERENCE) || $(call give_up,$(NO_VENV))
	@$(REFERENCE)/bin/pip install --quiet --disable-pip-version-check --constraint constraints-reference.txt --editable '.[mediapipe]' scikit-image || $(call give_up,$(NO_PACKAGES))
	@$(REFERENCE)/bin/phoenix-ray models install || $(call give_up,$(NO_WEIGHTS))
	@touch $@

SOURCE ?=
PARITY ?=
parity: reference ## compare our engine with MediaPipe itself, frame by frame: make parity SOURCE=… (default: the sample) PARITY="--set model.complexity=2"
	$(REFERENCE)/bin/python -m benchmarks.parity $(SOURCE) $(PARITY)

portability: setup ## compute golden frames on an emulated processor without AVX-512 (needs QEMU: apt install qemu-user)
	$(BIN)/python -m tests.golden.emulated

bench: setup ## run every suite of the benchmark that this machine can; each peer gets an environment in .venv-peers
	$(BIN)/python -m benchmarks

chaos: setup ## kill everything at every point, again and again, and write the table of docs/guarantees.md
	$(BIN)/python -m tests.chaos

simulate: setup ## try every order of the steps of drivers, repairs and readers on one dataset, with crashes (hours)
	$(BIN)/python -m tests.simulation

PYTHONS ?= 3.10 3.11 3.12 3.13
VERSIONS ?= newest lowest
matrix: setup ## install the wheel on each Python, with the newest and lowest libraries it admits: same landmarks?
	$(BIN)/python -m tests.matrix $(PYTHONS:%=--python %) $(VERSIONS:%=--resolution %) $(MATRIX)

cluster-test: setup ## run the jobs on real cluster software (SLURM, autoscaler, S3, Ray jobs), some of which needs root: build/cluster-test
	PHOENIX_RAY_CLUSTER_TESTS=1 $(BIN)/pytest tests/clusters -ra --override-ini timeout=900 $(CLUSTER_TESTS)

clean: ## remove what these commands made
	rm -rf $(VENV) $(REFERENCE) .venv-peers .venv-matrix $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage bench-results chaos-results
