// A companion in Go, standard library only. Build it with build.sh, run it with _HANDLER=exec:./hello-go.
//
// handle is yours; main is the whole protocol and can be copied as it is.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

type Context struct {
	AwsRequestID             string `json:"awsRequestId"`
	FunctionName             string `json:"functionName"`
	FunctionVersion          string `json:"functionVersion"`
	InvokeID                 string `json:"invokeid"`
	IsDefaultFunctionVersion bool   `json:"isDefaultFunctionVersion"`
	LogGroupName             string `json:"logGroupName"`
	LogStreamName            string `json:"logStreamName"`
	MemoryLimitInMB          string `json:"memoryLimitInMB"`
	DeadlineMs               int64  `json:"deadlineMs"` // Unix time
	InvokedFunctionArn       string `json:"invokedFunctionArn"`
	TraceID                  string `json:"traceId"`
	TenantID                 string `json:"tenantId"`
}

type request struct {
	Event   json.RawMessage `json:"event"`
	Context Context         `json:"context"`
}

type answer struct {
	ID    int     `json:"proc_req_id"`
	Error *string `json:"error"`
	Data  any     `json:"data"`
}

var calls int // lives as long as the environment

func handle(event json.RawMessage, context Context) (any, error) {
	var fields struct{ Fail string }
	if json.Unmarshal(event, &fields) == nil && fields.Fail != "" {
		return nil, errors.New(fields.Fail)
	}
	calls++
	fmt.Fprintln(os.Stderr, "go: call", calls, "of request", context.AwsRequestID)
	return map[string]any{"language": "go", "calls": calls, "event": event}, nil
}

func main() {
	in := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<16))
	out := json.NewEncoder(os.Stdout) // writes a line end after each value
	out.SetEscapeHTML(false)
	for id := 0; ; id++ {
		var req request
		if err := in.Decode(&req); err != nil {
			return // the input ends when the environment does
		}
		reply := answer{ID: id}
		data, err := recovered(req)
		if err != nil {
			text := err.Error()
			reply.Error = &text
		} else {
			reply.Data = data
		}
		if err := out.Encode(reply); err != nil {
			fmt.Fprintln(os.Stderr, "go: no answer can be written:", err)
			os.Exit(1)
		}
	}
}

func recovered(req request) (data any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("Panic: %v", r)
		}
	}()
	return handle(req.Event, req.Context)
}
