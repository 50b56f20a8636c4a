#!/bin/sh
# As in AWS's images: the handler is the argument, and the client runs under the emulator.
export _HANDLER="$1"
exec /usr/local/bin/aws-lambda-rie /var/runtime/bootstrap
