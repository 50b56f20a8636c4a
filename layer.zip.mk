# Builds the Lambda layer: build/layer.zip, its SBOM and its checksums.  make -f layer.zip.mk [VARIABLE=VALUE…] [layer|check|clean]
#
#   layer   build the zip, check its target machine, C library and size against Lambda's limits, and print its parts' sizes
#   check   build it again in a different environment, and compare the bytes
PYTHON ?= $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)
# The function's Python version, as in python3.13. A layer serves one version, for which orjson and the bytecode are built.
PYTHON_VERSION ?= $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# x86_64 or arm64, as the function's architecture
ARCH ?= $(patsubst aarch64,arm64,$(shell uname -m))
# 1: include an interpreter, for OS-only functions (provided.al2023). It comes from PYTHON_PREFIX, a relocatable folder with
# bin/python3.X and lib/python3.X, or else from `uv python install` (python-build-standalone).
BUNDLE ?=
PYTHON_PREFIX ?=
# The system whose C library the layer must run with: al2023 (2.34) or debian12 (2.36)
BASE ?= al2023
# The bytecode is compiled by a Python of the function's version: python3.X on PATH, the bundled one, this command, or this
# container image
BYTECODE_PYTHON ?=
BYTECODE_IMAGE ?=
OUT ?= build

TOOLS := build/layer-tools
BUILD = $(TOOLS)/bin/python -I layer/build.py --python-version $(PYTHON_VERSION) --arch $(ARCH) --base $(BASE) \
	$(if $(BUNDLE),--bundle) $(if $(PYTHON_PREFIX),--python-prefix '$(PYTHON_PREFIX)') \
	$(if $(BYTECODE_PYTHON),--bytecode-python '$(BYTECODE_PYTHON)') $(if $(BYTECODE_IMAGE),--bytecode-image '$(BYTECODE_IMAGE)')

.PHONY: layer check clean
.DELETE_ON_ERROR:

layer: $(TOOLS)/.done
	@$(BUILD) --zip $(OUT)/layer.zip --sbom $(OUT)/layer.cdx.json
	@cd $(OUT) && sha256sum layer.zip layer.cdx.json > SHA256SUMS && cat SHA256SUMS

# Neither the folder, the umask, the time zone and the locale, nor variables that Python and its tools read may show in the
# bytes.
check: layer
	@umask 077 && mkdir -p $(OUT)/again && TZ=Asia/Kolkata LC_ALL=C TMPDIR=$(abspath $(OUT)/again) SOURCE_DATE_EPOCH=1 \
	    PYTHONOPTIMIZE=2 PYTHONNODEBUGRANGES=1 PYTHONPYCACHEPREFIX=$(abspath $(OUT)/again) PYTHONHASHSEED=1 \
	    PYTHONDONTWRITEBYTECODE=1 PYTHONWARNINGS=error \
	    $(BUILD) --zip $(OUT)/again/layer.zip --sbom $(OUT)/again/layer.cdx.json >/dev/null
	@cd $(OUT)/again && sha256sum --check ../SHA256SUMS

$(TOOLS)/.done: requirements/layer.txt
	@echo '== installing the layer build tools in $(TOOLS)'
	@$(PYTHON) -I -m venv $(TOOLS)
	@$(TOOLS)/bin/python -I -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements/layer.txt
	@touch $@

clean:
	rm -rf $(OUT)/layer.zip $(OUT)/layer.cdx.json $(OUT)/SHA256SUMS $(OUT)/again $(TOOLS) build/wheels build/python
