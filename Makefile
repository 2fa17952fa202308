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
# Outside clients and readers, each in an environment of its own; the one in JavaScript where there is npm.
CLIENTS := $(patsubst %,.venvs/%/.done,croissant openai-sdk openai-1 schemathesis lm-eval \
             $(if $(shell command -v npm),openai-node))
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
FAST   := $(PYTEST) tests/fast --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help quickstart test fast proof fuzz bench bench-data conformance check format docs dist clean
help:             ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

quickstart: $(VENV)/.train   ## set up, then the whole journey on the embedded model and real data
	$(BIN)/tunesmith quickstart

test: $(VENV)/.dev           ## set up, then every test: fakes, the server on both databases, tiny random models, one embedded-model journey
	$(FAST)
	$(PYTEST) tests/server --numprocesses 2
	$(PYTEST) tests/tiny tests/real

fast: $(VENV)/.dev           ## the tests that need no torch (about 3 minutes)
	$(FAST)

proof: $(VENV)/.dev .venvs/fuzz/.done $(CLIENTS)   ## the real model, larger simulations, fuzzing: about two hours; writes docs/proof.md
	$(BIN)/python scripts/proof.py

fuzz: $(VENV)/.dev .venvs/fuzz/.done   ## ten minutes of coverage-guided fuzzing of every reader; SECONDS=60 for a try
	.venvs/fuzz/bin/python tests/fuzz/fuzz_readers.py --seconds $(or $(SECONDS),600)

bench: $(VENV)/.dev .venvs/llamacpp/.done   ## generation against transformers and llama.cpp; run it when nothing else runs
	$(BIN)/python benchmarks/sampling --llamacpp .venvs/llamacpp/bin/python

bench-data: $(VENV)/.dev $(patsubst %,.venvs/bench-%/.done,datatrove textdedup datasketch semhash)   ## near-duplicates beside four other tools
	$(BIN)/python benchmarks/data

conformance: $(VENV)/.dev $(CLIENTS)   ## what we write and answer, held against others' own tools and tests
	$(PYTEST) tests/proof/test_croissant.py tests/proof/test_openai_sdk.py tests/proof/test_clients.py

check: $(VENV)/.dev          ## format, lint, types, fast tests
	$(BIN)/ruff format --check src tests scripts examples
	$(BIN)/ruff check src tests scripts examples
	$(BIN)/mypy
	$(FAST)

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

# atheris has an environment of its own, which sees the project's packages and not the other way round.
.venvs/fuzz/.done: $(VENV)/bin/python
	@echo "making .venvs/fuzz"
	@$(PYTHON) -m venv .venvs/fuzz
	@.venvs/fuzz/bin/python -m pip install --quiet --disable-pip-version-check atheris==3.0.0
	@$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
	  > "$$(.venvs/fuzz/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/project.pth"
	@echo "$(CURDIR)/src" >> "$$(.venvs/fuzz/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/project.pth"
	@touch $@

# Other tools that benchmarks run beside ours, and the reader of the Croissant standard.
PEER_datatrove  := datatrove==0.10.1 spacy orjson fasteners xxhash
PEER_textdedup  := text-dedup==0.4.0
PEER_datasketch := datasketch==2.0.0
PEER_semhash    := semhash==0.5.0 safetensors
.venvs/bench-%/.done:
	@echo "making .venvs/bench-$*"
	@$(PYTHON) -m venv .venvs/bench-$*
	@.venvs/bench-$*/bin/python -m pip install --quiet --disable-pip-version-check $(PEER_$*)
	@touch $@

# The tests of OpenAI's client are in its source distribution alone.
OPENAI_SDK := openai==3.54.0
.venvs/openai-sdk/.done:
	@echo "making .venvs/openai-sdk"
	@$(PYTHON) -m venv .venvs/openai-sdk
	@.venvs/openai-sdk/bin/python -m pip install --quiet --disable-pip-version-check $(OPENAI_SDK) \
	  pytest==9.2.0 pytest-asyncio==1.4.0 inline-snapshot==0.36.1 trio==0.35.0 aiohttp==3.14.5 httpx2==2.16.2 rich==15.0.0
	@.venvs/openai-sdk/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
	  --dest .venvs/openai-sdk/sdist $(OPENAI_SDK)
	@tar -xzf .venvs/openai-sdk/sdist/*.tar.gz -C .venvs/openai-sdk/sdist --strip-components 1
	@touch $@

# The client as people still have it who wrote their code years ago.
.venvs/openai-1/.done:
	@echo "making .venvs/openai-1"
	@$(PYTHON) -m venv .venvs/openai-1
	@.venvs/openai-1/bin/python -m pip install --quiet --disable-pip-version-check openai==1.109.1
	@touch $@

# The client in JavaScript.
.venvs/openai-node/.done:
	@echo "making .venvs/openai-node"
	@mkdir -p .venvs/openai-node
	@npm install --silent --no-audit --no-fund --prefix .venvs/openai-node openai@7.57.0
	@touch $@

.venvs/schemathesis/.done:
	@echo "making .venvs/schemathesis"
	@$(PYTHON) -m venv .venvs/schemathesis
	@.venvs/schemathesis/bin/python -m pip install --quiet --disable-pip-version-check schemathesis==4.32.5
	@touch $@

.venvs/lm-eval/.done:
	@echo "making .venvs/lm-eval"
	@$(PYTHON) -m venv .venvs/lm-eval
	@.venvs/lm-eval/bin/python -m pip install --quiet --disable-pip-version-check 'lm-eval[api]==0.4.13'
	@touch $@

.venvs/croissant/.done:
	@echo "making .venvs/croissant"
	@$(PYTHON) -m venv .venvs/croissant
	@.venvs/croissant/bin/python -m pip install --quiet --disable-pip-version-check 'mlcroissant[parquet]==1.1.1'
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
