#!/bin/sh
# A companion in POSIX shell. Run it with _HANDLER=exec:./hello.sh.
# The request's order is fixed, {"event":EVENT,"context":{...}}, so the event can be cut out without a JSON parser.
id=0
while IFS= read -r line; do
    event=${line#*'{"event":'}
    event=${event%,\"context\":*}
    request=${line##*\"awsRequestId\":\"}
    echo "sh: call $((id + 1)) of request ${request%%\"*}" >&2
    printf '{"proc_req_id":%d,"error":null,"data":{"language":"sh","calls":%d,"event":%s}}\n' "$id" "$((id + 1))" "$event"
    id=$((id + 1))
done
