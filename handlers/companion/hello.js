#!/usr/bin/env node
// A companion in JavaScript for Node, without packages. Run it with _HANDLER='exec:node hello.js'.
// handle is yours; the rest is the whole protocol and can be copied as it is.
"use strict";

let calls = 0; // lives as long as the environment

async function handle(event, context) {
  if (event && event.fail) throw new Error(event.fail);
  calls++;
  console.log(`node: call ${calls} of request ${context.awsRequestId}`);
  return { language: "node", calls, event };
}

// Standard output carries the answers: what is logged goes to standard error.
globalThis.console = new console.Console(process.stderr);

async function main() {
  let id = 0;
  for await (const line of require("node:readline").createInterface({ input: process.stdin })) {
    const answer = { proc_req_id: id++, error: null, data: null };
    try {
      const { event, context } = JSON.parse(line);
      answer.data = await handle(event, context);
    } catch (error) {
      console.error(error);
      // `Type: message` becomes errorType and errorMessage; a plain Error says its message alone.
      answer.error = error instanceof Error && error.name === "Error" ? error.message : String(error);
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
}

main();
