"""Runs in .venv-deploy: runs a Pulumi program without the engine and prints the resources that it asks for, as JSON."""

import json
import runpy
import sys

import pulumi

RESOURCES: list[dict[str, object]] = []


class Mocks(pulumi.runtime.Mocks):
    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str, dict[str, object]]:
        RESOURCES.append({"type": args.typ, "name": args.name, "inputs": args.inputs})
        return f"{args.name}-id", {**args.inputs, "arn": f"arn:{args.name}", "version": "1"}

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, object]:
        raise AssertionError(f"the program looks up {args.token}")


pulumi.runtime.set_mocks(Mocks())


@pulumi.runtime.test
def run() -> None:
    runpy.run_path(sys.argv[1], run_name="__main__")


run()
print(json.dumps(RESOURCES, default=lambda asset: asset.path))
