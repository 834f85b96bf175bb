# make demo    evolve an architecture on real text, and see what it is worth
# make test    set up the environment, then the whole gate
# make check   the whole gate: lint, format, types, layers, tests
# make format  write the canonical form of the Python files
# make clean   remove the environment and the caches; runs/ stays
# make test-transformers    transformers' own tests of models, for ours (needs a network)
#
# VENV=DIR is the environment to use, PYTHON=python3.12 the Python it is made from,
# PYTEST_ARGS="tests/ops -k softmax" narrows the tests.

VENV ?= .venv
PYTHON ?=
DEMO_ARGS ?= examples/demo.azg --data python+task:recall --length 32 --batch 32 \
	--learning-rate 6e-3 --warmup-ratio 0.5 --weights fresh --steps 300 --evaluations 26 \
	--contenders 4 --final-steps 300 --seed 2 --workers 2
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq -c constraints.txt
RUNTIME := $(VENV)/.azc-runtime
DEV := $(VENV)/.azc-dev

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-transformers check lint format-check types layers tests format clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -n 9

# A run never overwrites another: runs/demo, runs/demo-2, runs/demo-3, ...
demo: $(RUNTIME)
	@run=runs/demo; n=1; \
	while [ -e "$$run" ]; do n=$$((n + 1)); run=runs/demo-$$n; done; \
	mkdir -p runs; \
	echo "==> a search of about five minutes on two cores"; \
	echo "==> azc evolve $(DEMO_ARGS) -o $$run"; \
	$(BIN)/azc evolve $(DEMO_ARGS) -o "$$run"

test: $(DEV)
	@$(MAKE) --no-print-directory check

# Its tests need a package of their own, and marks that are not ours: hence no addopts.
test-transformers: $(DEV)
	@echo "==> transformers' tests of models"
	@folder=$$($(BIN)/python tests/harness/fetch.py .cache) && \
	AZC_TRANSFORMERS_TESTS="$$folder/tests" PYTHONPATH="$$folder/packages" \
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -o addopts= --import-mode=importlib \
		-q -rfE -W ignore --show-capture=no tests/harness/models.py $(PYTEST_ARGS)

# All of them, even after one has failed; pytest comes last and has the last word.
check:
	@$(MAKE) --no-print-directory -k lint format-check types layers tests

lint: | $(BIN)/pytest
	@echo "==> lint"
	@$(BIN)/ruff check .

format-check: | $(BIN)/pytest
	@echo "==> format"
	@$(BIN)/ruff format --check .

types: | $(BIN)/pytest
	@echo "==> types"
	@$(BIN)/mypy

layers: | $(BIN)/pytest
	@echo "==> layers"
	@$(BIN)/lint-imports --no-logo

tests: | $(BIN)/pytest
	@echo "==> tests"
	@$(BIN)/pytest -n 2 --dist worksteal $(PYTEST_ARGS)

format: $(DEV)
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

clean:
	rm -rf .venv .cache build dist .mypy_cache .pytest_cache .ruff_cache \
		.import_linter_cache .hypothesis
	find azc tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. Stamps keep it as it is until the requirements change; the one for
# development contains the other.

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "==> installing azc and what it needs into $(VENV)" \
		"(340 MB to download, 1.6 GB on disk, a minute or two)"
	@$(PIP) -e .
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "==> installing azc and what its tests need into $(VENV)" \
		"(1 GB to download, a minute or two)"
	@$(PIP) -e '.[dev]'
	@touch $(RUNTIME) $@

$(BIN)/pytest:
	@echo "$(VENV) lacks what the checks need: make test installs it" >&2; exit 1

$(BIN)/python:
	@for python in $(or $(PYTHON),python3 python3.11 python3.12 python3.13 python); do \
		if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
			2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "azc needs Python 3.11 or newer, and" \
			"$(or $(PYTHON),python3) is none;" \
			"name one with: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi; \
	echo "==> creating $(VENV) with $$($$found --version)"; \
	made=; if [ ! -e "$(VENV)" ]; then made="$(VENV)"; fi; \
	"$$found" -m venv "$(VENV)" || { \
		if [ -n "$$made" ]; then rm -rf "$$made"; fi; \
		echo "$$found could not make a virtual environment; where Python comes in" \
			"several packages, install the one with venv (python3-venv)" >&2; \
		exit 1; \
	}
