# A container image with Samovar in /opt, laid out as in the layer, on a public slim Python image.
#
#   docker build -t samovar .           with or without BuildKit; Dockerfile.os is on AWS's OS-only image
#
# A function's own Dockerfile:
#   FROM samovar
#   COPY . .
#   CMD ["app.handler"]
# Before CMD, with packages: RUN python3 -m pip install --target . -r requirements.txt
# and, so that no cold start compiles: RUN python3 -m compileall -q --invalidation-mode unchecked-hash .
# Run it: docker run -p 9000:8080 IMAGE
ARG BASE_IMAGE=public.ecr.aws/docker/library/python:3.13-slim

FROM ${BASE_IMAGE} AS build
# The interpreter's full path, unless it is the base's python3.
ARG PYTHON=
WORKDIR /src
COPY requirements/runtime.txt requirements/sam.txt requirements/
# The emulator is in the wheel of the SAM CLI, and pinned with it. orjson has no wheel for a Python without the GIL.
RUN python=${PYTHON:-python3} \
 && { $python -c 'import sys; sys.exit("t" in sys.abiflags)' || sed -i '/^orjson==/,/[^\\]$/d' requirements/runtime.txt; } \
 && $python -m pip download --quiet --no-deps --require-hashes --only-binary=:all: -d /wheels -r requirements/runtime.txt \
 && sed -n '/^aws-sam-cli==/,/[^\\]$/p' requirements/sam.txt > /rie.txt \
 && $python -m pip download --quiet --no-deps --require-hashes --ignore-requires-python -d /rie -r /rie.txt \
 && $python -m zipfile -e /rie/*.whl /rie \
 && cp "/rie/samcli/local/rapid/aws-lambda-rie-$(uname -m | sed s/aarch64/arm64/)" /aws-lambda-rie \
 && chmod 755 /aws-lambda-rie \
 && cp -r /rie/aws_sam_cli-*.dist-info/licenses /rie-licences \
 && chmod -R a+rX /rie-licences \
 && rm -r /rie
COPY . .
RUN PYTHONPATH=runtime ${PYTHON:-python3} -m samovar.local.layer.image /layer /wheels && chmod -R a+rX /layer
# The mode is set here: a checkout made under umask 077 has files that only their owner can read.
RUN install -m 755 layer/image-entry /samovar-entry

FROM ${BASE_IMAGE} AS python
ARG PYTHON=
COPY --from=build /layer/ /opt/
COPY --from=build /aws-lambda-rie /samovar-entry /usr/local/bin/
COPY --from=build /rie-licences/ /usr/local/share/doc/aws-lambda-rie/
ENV LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime TZ=:/etc/localtime LANG=C.UTF-8 SAMOVAR_PYTHON=${PYTHON}
# No USER: Lambda chooses one, samovar-entry drops root elsewhere, and `sam local invoke` builds on the image as root.
WORKDIR /var/task
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/samovar-entry"]
# The commit, as `make image` gives it. The licences are those of /opt and the emulator; the base's come on top.
ARG REVISION=
LABEL org.opencontainers.image.title="Samovar" \
      org.opencontainers.image.description="A custom AWS Lambda runtime for Python" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.source="https://github.com/samovar-runtime/samovar" \
      org.opencontainers.image.licenses="Apache-2.0 AND MIT AND MPL-2.0" \
      org.opencontainers.image.revision="${REVISION}"
