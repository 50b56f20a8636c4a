# `make help` lists the targets. All of them first bring what they need: a virtual environment in .venv with everything
# pinned, the package, and the Runtime Interface Emulator.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
ARGS ?=
# Nothing may depend on the caller's own site or on colours and prompts.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c

.PHONY: help setup demo test test-fast lint mutants format lock bench bench-containers layer image sam clean
.DELETE_ON_ERROR:

setup: $(STAMP) ## the virtual environment .venv with everything pinned, the package, and the RIE

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Samovar needs Python 3.11 or later, and $(PYTHON) is %d.%d: use make PYTHON=/path/to/python3" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo '== 1/4 virtual environment in $(VENV)'
	@$(PYTHON) -m venv $(VENV)
	@echo '== 2/4 pinned dependencies, each file checked against its hash'
	@$(BIN)/python -m pip install --require-hashes --no-deps -r requirements/dev.txt \
	    | sed -u -e '/^Requirement already satisfied/d' -e '/^Ignoring/d'
	@echo '== 3/4 samovar itself, editable'
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@echo '== 4/4 the Runtime Interface Emulator'
	@$(BIN)/python -m samovar.local.rie
	@touch $@

demo: setup ## the example handlers under the Runtime Interface Emulator; ARGS=hello takes one
	@$(BIN)/samovar demo $(ARGS)

test: setup ## every test; ARGS='-k rie' passes arguments to pytest
	$(BIN)/python -m pytest $(ARGS)

test-fast: setup ## the tests that need no emulator, container, Valkey or build; ARGS as for test
	$(BIN)/python -m pytest -m 'not real' --ignore=tests/bench --ignore=tests/layer $(ARGS)

lint: setup ## ruff, mypy --strict, actionlint and zizmor
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy runtime layer bench
	$(BIN)/lint-imports --quiet --no-cache
	$(BIN)/actionlint -shellcheck= -pyflakes=
	$(BIN)/zizmor --offline --quiet .github

# Outside CI. cosmic-ray apart, as it needs nothing of ours.
mutants: setup .venv-mutants/.done ## small changes of the core that no test notices; ARGS='wire codec' takes these modules, all take hours
	$(BIN)/python -m tests.mutants $(ARGS)

.venv-mutants/.done: requirements/mutants.txt
	@$(PYTHON) -m venv .venv-mutants
	@.venv-mutants/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements/mutants.txt
	@touch $@

format: setup ## ruff's fixes and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# uv writes locks that hold for every Python from 3.11 on; pip installs from them.
lock: ## write the pins anew; ARGS='--upgrade-package ruff' takes uv's options
	@$(PYTHON) -m venv build/uv && build/uv/bin/python -m pip install --quiet uv
	build/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 $(ARGS) \
	    --extra local --extra redis pyproject.toml requirements/dev.in --output-file requirements/dev.txt
	build/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 $(ARGS) \
	    --constraint requirements/dev.txt pyproject.toml --output-file requirements/runtime.txt
	build/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 $(ARGS) \
	    requirements/mutants.in --output-file requirements/mutants.txt

bench: setup ## the benchmark beside AWS's client, about 20 minutes; QUICK=1 for under two
	$(BIN)/python -m bench $(ARGS)

bench-containers: setup ## sizes and cold starts in containers
	$(BIN)/python -m bench.containers $(ARGS)

layer: setup ## build/layer.zip, its SBOM and checksums; layer.zip.mk says what can be chosen
	@$(MAKE) --no-print-directory -f layer.zip.mk

image: ## the container image; BASE_IMAGE=… where the Dockerfile's default is not to be used
	docker build --target python --tag samovar $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) .
	@docker image inspect --format 'samovar: {{.Size}} bytes' samovar

sam: .venv-sam/.done ## the SAM CLI in .venv-sam, apart because it pins what others need newer

.venv-sam/.done: requirements/sam.txt
	@echo '== the SAM CLI in .venv-sam, each file checked against its hash'
	@$(PYTHON) -m venv .venv-sam
	@.venv-sam/bin/python -m pip install --quiet --no-compile --require-hashes --no-deps --requirement requirements/sam.txt
	@touch $@

help: ## this list
	@awk -F ':.* ## ' '/^[a-z-]+:.* ## /{printf "make %-18s%s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

clean: ## remove what all of these have made
	rm -rf $(VENV) .venv-sam .venv-mutants build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
