# `make` lists the targets; every one works on a fresh clone and nothing else.
PYTHON ?= python3
TORCH ?= torch==2.13.0
CORES ?= $(shell nproc)
BIN := .venv/bin
# Beside a process that shares its imports with all jobs that need torch.
SNAKEMAKE := $(BIN)/python -m vlmscale.jobs.import_server $(BIN)/snakemake --cores $(CORES)

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

setup: .venv/complete ## the environment: .venv from the pinned lock

.venv/complete: requirements/lock.txt pyproject.toml
	$(PYTHON) -m venv .venv
	@# torch first, and alone: a CUDA machine sets TORCH to its own build. torchvision never.
	$(BIN)/pip install --quiet --no-deps '$(TORCH)'
	$(BIN)/pip install --quiet --no-deps -r requirements/lock.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

run: setup ## the default study (config/mini.yaml) with its summary, and the paper's released numbers
	$(SNAKEMAKE) all published --logger vlmscale
	@$(BIN)/vlmscale summary results/mini

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

test: check ## check, all tests, the smoke study, the documentation site
	$(BIN)/pytest --numprocesses $(CORES) -m "slow or not slow"

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

clean: ## remove results and work of all studies, not the environment
	find results -mindepth 1 ! -name README.md -delete
	rm -rf work .snakemake

.PHONY: help setup run smoke published report check test docs format schema lock lock-new clean
