# Builds the Lambda layer, its SBOM and its checksums with `samovar layer`.  make -f layer.zip.mk [VARIABLE=VALUE…] [layer|check|clean]
#
#   layer   build the zip, check its target machine, C library and size against Lambda's limits, and print its parts' sizes
#   check   build it again in a different environment, and compare the bytes
#
# The zip is build/layer.zip where nothing is asked for, and else named after what it is for, as layer-python3.13-arm64.zip.
# Needs Python 3.11 or later, and no .venv: the tools are fetched by hash into build/.
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
# The function's Python version, as in python3.13; by default that of PYTHON. A layer serves one version, for which
# orjson and the bytecode are built. 3.13t, with BUNDLE=1, has no GIL: tools/python-freethreaded builds one.
PYTHON_VERSION ?= $(if $(filter command environment,$(firstword $(origin PYTHON))),$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
# x86_64 or arm64, as the function's architecture; by default this machine's
ARCH ?=
# 1: include an interpreter, for OS-only functions (provided.al2023). It comes from PYTHON_PREFIX, a relocatable folder with
# bin/python3.X and lib/python3.X, or else from `uv python install` (python-build-standalone).
BUNDLE ?=
PYTHON_PREFIX ?=
# The system whose C library the layer must run with: al2023 (2.34, the default) or debian12 (2.36)
BASE ?=
# The bytecode is compiled by a Python of the function's version: python3.X on PATH, the bundled one, this command, or this
# container image
BYTECODE_PYTHON ?=
BYTECODE_IMAGE ?=
OUT ?= build

WITH_INTERPRETER := $(filter-out 0 no false,$(BUNDLE))
$(if $(filter-out 1 yes true,$(WITH_INTERPRETER)),$(error BUNDLE=$(BUNDLE) is neither 1, for a layer with an interpreter, nor 0))
option = $(if $($(1)),$(2) '$($(1))')
# -I: neither variables of the interpreter nor the folder's own modules count.
BUILD = $(PYTHON) -I -c 'import sys; sys.path.insert(0, "runtime"); from samovar.local.cli import main; sys.exit(main())' layer \
	--cache build $(call option,PYTHON_VERSION,--python) $(call option,ARCH,--arch) $(call option,BASE,--base) \
	$(if $(WITH_INTERPRETER),--bundle $(call option,PYTHON_PREFIX,--python-prefix)) \
	$(call option,BYTECODE_PYTHON,--bytecode-python) $(call option,BYTECODE_IMAGE,--bytecode-image)

.PHONY: layer check clean python
.DELETE_ON_ERROR:

layer: python
	@$(BUILD) --out '$(OUT)'

# Neither the folder, the umask, the time zone and the locale, nor variables that Python and its tools read may show in the
# bytes.
check: layer
	@rm -rf '$(OUT)/again' && umask 077 && mkdir -p '$(OUT)/again' && \
	    TZ=Asia/Kolkata LC_ALL=C TMPDIR=$(abspath $(OUT)/again) SOURCE_DATE_EPOCH=1 \
	    PYTHONOPTIMIZE=2 PYTHONNODEBUGRANGES=1 PYTHONPYCACHEPREFIX=$(abspath $(OUT)/again) PYTHONHASHSEED=1 \
	    PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=error \
	    $(BUILD) --out '$(OUT)/again' >/dev/null
	@cd '$(OUT)/again' && sha256sum --check --ignore-missing ../SHA256SUMS

python:
	@$(PYTHON) -c 'import sys; sys.exit("Samovar needs Python 3.11 or later, and $(PYTHON) is %d.%d: run make PYTHON=/path/to/python3" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'

clean:
	rm -rf $(OUT)/layer*.zip $(OUT)/layer*.cdx.json $(OUT)/SHA256SUMS $(OUT)/again build/*-tools-* build/pip-* build/wheels build/python
