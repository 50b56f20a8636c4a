#!/bin/sh
# As in AWS's images: the handler is the argument, the emulator stands in front.
export _HANDLER="$1"
exec /usr/local/bin/aws-lambda-rie /var/runtime/bootstrap
