# Container images with Samovar in /opt, laid out as in the layer.
#
#   docker build -t samovar .                                             on a public slim Python image
#   make layer BUNDLE=1 && docker build -t samovar:os --target os .       on AWS's OS-only image, with the layer's interpreter
#
# A function's own Dockerfile:
#   FROM samovar
#   COPY . .
#   CMD ["app.handler"]
# (with packages, before CMD: RUN python3 -m pip install --target . -r requirements.txt). Run it: docker run -p 9000:8080 IMAGE
ARG BASE_IMAGE=public.ecr.aws/docker/library/python:3.13-slim
ARG OS_IMAGE=public.ecr.aws/lambda/provided:al2023

FROM ${BASE_IMAGE} AS build
# The interpreter's full path, unless it is the base's python3.
ARG PYTHON=
WORKDIR /src
COPY requirements/runtime.txt requirements/sam.txt requirements/
# The emulator is in the wheel of the SAM CLI, and pinned with it.
RUN python=${PYTHON:-python3} \
 && $python -m pip download --quiet --no-deps --require-hashes --only-binary=:all: -d /wheels -r requirements/runtime.txt \
 && sed -n '/^aws-sam-cli==/,/[^\\]$/p' requirements/sam.txt > /rie.txt \
 && $python -m pip download --quiet --no-deps --require-hashes --ignore-requires-python -d /rie -r /rie.txt \
 && $python -m zipfile -e /rie/*.whl /rie \
 && cp "/rie/samcli/local/rapid/aws-lambda-rie-$(uname -m | sed s/aarch64/arm64/)" /aws-lambda-rie \
 && chmod 755 /aws-lambda-rie \
 && rm -r /rie
COPY . .
RUN PYTHONPATH=runtime ${PYTHON:-python3} -m samovar.local.layer.image /layer /wheels && chmod -R a+rX /layer

FROM ${BASE_IMAGE} AS python
ARG PYTHON=
COPY --from=build /layer/ /opt/
COPY --from=build /aws-lambda-rie /usr/local/bin/aws-lambda-rie
COPY layer/image-entry /usr/local/bin/samovar-entry
# Lambda's own user, which has no name in the image. It owns /var/task, so that `RUN pip install --target .` works.
RUN mkdir -p /var/task && chown 993:990 /var/task
ENV LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime TZ=:/etc/localtime LANG=C.UTF-8 SAMOVAR_PYTHON=${PYTHON}
WORKDIR /var/task
EXPOSE 8080
USER 993:990
ENTRYPOINT ["/usr/local/bin/samovar-entry"]

FROM ${BASE_IMAGE} AS unpack
ARG PYTHON=
ARG LAYER=build/layer-*-bundle*.zip
COPY runtime/samovar/local/layer/unpack.py ${LAYER} /
RUN ${PYTHON:-python3} /unpack.py / /layer

FROM ${OS_IMAGE} AS os
COPY --from=unpack /layer/ /opt/
COPY --from=build /aws-lambda-rie /usr/local/bin/aws-lambda-rie
COPY layer/image-entry /usr/local/bin/samovar-entry
ENV LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime TZ=:/etc/localtime LANG=C.UTF-8
WORKDIR /var/task
EXPOSE 8080
USER 993:990
ENTRYPOINT ["/usr/local/bin/samovar-entry"]

FROM python
