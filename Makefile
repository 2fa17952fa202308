# Everything starts here: `make quickstart` and `make test` set themselves up.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# Which build of torch: `cpu` on Linux without an NVIDIA GPU, else the platform's usual build.
# Change it with `make TORCH=default quickstart`.
ifeq ($(shell uname -s)$(shell command -v nvidia-smi),Linux)
TORCH ?= cpu
else
TORCH ?= default
endif
TORCH_VERSION   := $(shell sed -n 's/^torch==//p' constraints.txt)
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu

# Threads that spin while they wait slow every other process on a small machine.
export OMP_WAIT_POLICY ?= PASSIVE
export GOMP_SPINCOUNT ?= 0
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest

.PHONY: help quickstart test fast proof bench check format docs dist clean
help:             ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

quickstart: $(VENV)/.train   ## set up, then the whole journey on the embedded model and real data
	$(BIN)/tunesmith quickstart

test: $(VENV)/.dev           ## set up, then every test: fakes, tiny random models, one embedded-model journey
	$(PYTEST) tests/fast tests/tiny tests/real

fast: $(VENV)/.dev           ## the tests that need no torch (under 3 minutes)
	$(PYTEST) tests/fast

proof: $(VENV)/.dev          ## everything with the real model (under 90 minutes); writes docs/proof.md
	$(BIN)/python scripts/proof.py

bench: $(VENV)/.dev .venvs/llamacpp/.done   ## generation against transformers and llama.cpp; run it when nothing else runs
	$(BIN)/python benchmarks/sampling --llamacpp .venvs/llamacpp/bin/python

check: $(VENV)/.dev          ## format, lint, types, fast tests
	$(BIN)/ruff format --check src tests scripts examples
	$(BIN)/ruff check src tests scripts examples
	$(BIN)/mypy
	$(PYTEST) tests/fast

format: $(VENV)/.dev         ## write the format
	$(BIN)/ruff format src tests scripts examples
	$(BIN)/ruff check --fix src tests scripts examples

docs: $(VENV)/.dev           ## write the generated reference pages
	$(BIN)/python scripts/reference.py

dist: $(VENV)/.dev           ## build the wheel and run the fake journey from it, outside this folder
	$(BIN)/python scripts/dist.py

clean:            ## remove the environment and what was built (keeps the cache and .tunesmith)
	rm -rf $(VENV) dist build

# llama.cpp lives in an environment of its own: nothing of it is imported by the project.
.venvs/llamacpp/.done:
	@echo "making .venvs/llamacpp"
	@$(PYTHON) -m venv .venvs/llamacpp
	@.venvs/llamacpp/bin/python -m pip install --quiet --disable-pip-version-check xllamacpp==2026.10.11549
	@touch $@

$(VENV)/bin/python:
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "→ on Debian: apt install python3-venv"; exit 2; }

# A `+cpu` wheel that pip already knows (a local wheel folder) is taken first; PyPI has none.
$(VENV)/.torch: $(VENV)/bin/python constraints.txt
	@echo "installing torch $(TORCH_VERSION) ($(TORCH) build)"
ifeq ($(TORCH),cpu)
	@$(PIP) -c constraints.txt "torch==$(TORCH_VERSION)+cpu" 2>/dev/null \
	  || $(PIP) -c constraints.txt --extra-index-url $(TORCH_CPU_INDEX) "torch==$(TORCH_VERSION)+cpu"
else
	@$(PIP) -c constraints.txt "torch==$(TORCH_VERSION)"
endif
	@touch $@

$(VENV)/.train: $(VENV)/.torch pyproject.toml
	@echo "installing tunesmith"
	@$(PIP) -c constraints.txt -e '.[train,data]'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	@echo "installing what the tests need"
	@$(PIP) -c constraints.txt -e '.[train,data,dev]'
	@touch $@
