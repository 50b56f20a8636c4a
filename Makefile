# `make help` lists the targets. Each first sets up what it needs: a virtual environment in .venv with pinned packages,
# samovar itself, and the Runtime Interface Emulator.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
ARGS ?=
# pip must neither ask nor print notices.
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
SHELL := /bin/bash
.SHELLFLAGS := -eo pipefail -c

.PHONY: help setup demo test test-fast lint mutants format lock bench bench-containers layer image sam clean
.DELETE_ON_ERROR:

setup: $(STAMP) ## create .venv with pinned packages and samovar itself, and fetch the RIE

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Samovar needs Python 3.11 or later, and $(PYTHON) is %d.%d: run make PYTHON=/path/to/python3" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
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

demo: setup ## run the example handlers under the Runtime Interface Emulator; ARGS=hello runs one
	@$(BIN)/python -m handlers.demo $(ARGS)

test: setup ## run all tests; ARGS='-k rie' passes arguments to pytest
	$(BIN)/python -m pytest $(ARGS)

test-fast: setup ## run the tests that need no emulator, container, Valkey or build; ARGS as for test
	$(BIN)/python -m pytest -m 'not real' --ignore=tests/bench --ignore=tests/layer $(ARGS)

lint: setup ## run ruff, mypy --strict, actionlint and zizmor
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy runtime layer bench handlers/demo
	$(BIN)/actionlint -shellcheck= -pyflakes=
	$(BIN)/zizmor --offline --quiet .github

# Outside CI. cosmic-ray has an environment of its own, since it needs none of our packages.
mutants: setup .venv-mutants/.done ## find small changes of the core that no test notices; ARGS='wire codec' takes these modules (all take hours)
	$(BIN)/python -m tests.mutants $(ARGS)

.venv-mutants/.done: requirements/mutants.txt
	@$(PYTHON) -m venv .venv-mutants
	@.venv-mutants/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements/mutants.txt
	@touch $@

format: setup ## apply ruff's fixes and formatting
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# uv writes locks for all Pythons from 3.11 on; pip installs from them.
lock: ## update the pinned requirements; ARGS='--upgrade-package ruff' passes options to uv
	@$(PYTHON) -m venv build/uv && build/uv/bin/python -m pip install --quiet uv
	build/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 $(ARGS) \
	    --extra local --extra redis pyproject.toml requirements/dev.in --output-file requirements/dev.txt
	build/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 $(ARGS) \
	    --constraint requirements/dev.txt pyproject.toml --output-file requirements/runtime.txt
	build/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 $(ARGS) \
	    requirements/mutants.in --output-file requirements/mutants.txt

bench: setup ## run the benchmark beside AWS's client, in about 20 minutes, or under two with QUICK=1
	$(BIN)/python -m bench $(ARGS)

bench-containers: setup ## measure sizes and cold starts in containers
	$(BIN)/python -m bench.containers $(ARGS)

layer: setup ## build build/layer.zip, its SBOM and checksums; layer.zip.mk lists the variables
	@$(MAKE) --no-print-directory -f layer.zip.mk

image: ## build the container image; BASE_IMAGE=… replaces the Dockerfile's default
	docker build --target python --tag samovar $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) .
	@docker image inspect --format 'samovar: {{.Size}} bytes' samovar

sam: .venv-sam/.done ## install the SAM CLI in .venv-sam, apart because of its pinned dependencies

.venv-sam/.done: requirements/sam.txt
	@echo '== installing the SAM CLI in .venv-sam, each file checked against its hash'
	@$(PYTHON) -m venv .venv-sam
	@.venv-sam/bin/python -m pip install --quiet --no-compile --require-hashes --no-deps --requirement requirements/sam.txt
	@touch $@

help: ## list the targets
	@awk -F ':.* ## ' '/^[a-z-]+:.* ## /{printf "make %-18s%s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

clean: ## remove everything that these targets create
	rm -rf $(VENV) .venv-sam .venv-mutants build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
