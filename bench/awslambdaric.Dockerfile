# AWS's client on the same base as Samovar's image, built as in AWS's guide to images from an alternative base, under the
# emulator. https://docs.aws.amazon.com/lambda/latest/dg/python-image.html
ARG BASE_IMAGE
ARG SAMOVAR_IMAGE
FROM ${SAMOVAR_IMAGE} AS samovar
FROM ${BASE_IMAGE} AS build
COPY requirements.txt /
RUN python3 -m pip install --quiet --require-hashes --no-deps --only-binary=:all: --target /client -r /requirements.txt
FROM ${BASE_IMAGE}
COPY --from=build /client/ /opt/client/
COPY --from=samovar /usr/local/bin/aws-lambda-rie /usr/local/bin/aws-lambda-rie
ENV PYTHONPATH=/opt/client LANG=C.UTF-8
WORKDIR /var/task
ENTRYPOINT ["/usr/local/bin/aws-lambda-rie", "/usr/bin/python3", "-m", "awslambdaric"]
