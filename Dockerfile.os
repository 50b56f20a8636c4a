# The image on AWS's OS-only base, with the interpreter that the layer brings:
#
#   docker build -t samovar .
#   make layer BUNDLE=1
#   docker build -t samovar:os -f Dockerfile.os .
#
# A file of its own, as without BuildKit `docker build` makes every stage of a file, wanted or not.
ARG SAMOVAR_IMAGE=samovar
ARG OS_IMAGE=public.ecr.aws/lambda/provided:al2023

FROM ${SAMOVAR_IMAGE} AS samovar
ARG LAYER=build/layer-*-bundle*.zip
COPY runtime/samovar/local/layer/unpack.py ${LAYER} /
RUN ${SAMOVAR_PYTHON:-python3} /unpack.py / /layer && chmod -R a+rX /layer

FROM ${OS_IMAGE}
COPY --from=samovar /layer/ /opt/
COPY --from=samovar /usr/local/bin/aws-lambda-rie /usr/local/bin/samovar-entry /usr/local/bin/
ENV LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime TZ=:/etc/localtime LANG=C.UTF-8
WORKDIR /var/task
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/samovar-entry"]
ARG REVISION=
LABEL org.opencontainers.image.title="Samovar" \
      org.opencontainers.image.description="A custom AWS Lambda runtime for Python" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.source="https://github.com/samovar-runtime/samovar" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
