"""Runs in .venv-deploy: prints, as JSON, what the Terraform files of a folder declare and use, and each argument that
the AWS provider does not have or misses.

Terraform gets the provider's schema from the provider, which neither pip nor npm brings. Pulumi's AWS package is made
from the same provider: its classes have the same arguments, but for a few that RENAMED lists.
"""

import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hcl2
import pulumi_aws

RENAMED = {
    "aws_lambda_function": {"function_name": "name", "filename": "code"},
    "aws_lambda_layer_version": {"filename": "code"},
    "aws_cloudwatch_metric_alarm": {"alarm_name": "name"},
    "aws_lambda_permission": {"function_name": "function"},
    "aws_lb_listener_rule": {"action": "actions", "condition": "conditions"},
    "aws_api_gateway_resource": {"rest_api_id": "rest_api"},
    "aws_api_gateway_method": {"rest_api_id": "rest_api"},
    "aws_api_gateway_integration": {"rest_api_id": "rest_api"},
    "aws_api_gateway_deployment": {"rest_api_id": "rest_api"},
    "aws_api_gateway_stage": {"rest_api_id": "rest_api", "deployment_id": "deployment"},
}
META = {"count", "depends_on", "for_each", "lifecycle", "provider"}
USED = re.compile(r"\b(?:(?:var|local)\.\w+|data\.\w+\.\w+|aws_\w+\.\w+)")


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            if key != "__comments__":
                yield from strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings(member)
    elif isinstance(value, str):
        yield value


def camel(words: str) -> str:
    return "".join(word.capitalize() for word in words.split("_"))


def wrong_arguments(kind: str, block: dict[str, Any]) -> Iterator[str]:
    _, service, resource = kind.replace("aws_api_gateway_", "aws_apigateway_").split("_", 2)
    module = getattr(pulumi_aws, "lambda_" if service == "lambda" else service)
    yield from compare(kind, module, camel(resource), block, RENAMED.get(kind, {}))


def compare(path: str, module: Any, name: str, block: dict[str, Any], renamed: dict[str, str]) -> Iterator[str]:
    parameters = inspect.signature(getattr(module, f"{name}Args")).parameters
    given = {key: value for key, value in block.items() if not key.startswith("__") and key not in META}
    for dynamic in given.pop("dynamic", []):
        for label, body in dynamic.items():
            if not label.startswith("__"):
                given[label.strip('"')] = body["content"]
    for key, value in given.items():
        if renamed.get(key, key) not in parameters:
            yield f"{path}: no argument {key}"
        elif isinstance(value, list) and value and isinstance(value[0], dict) and value[0].get("__is_block__"):
            yield from compare(f"{path}.{key}", module, name + camel(key), value[0], {})
    there = {renamed.get(key, key) for key in given}
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in there:
            yield f"{path}: {key} is missing"


declared, used, wrong = set(), set(), []
for file in sorted(Path(sys.argv[1]).glob("*.tf")):
    with file.open() as source:
        content = hcl2.load(source)
    used |= {found for text in strings(content) for found in USED.findall(text)}
    declared |= {"var." + name.strip('"') for block in content.get("variable", []) for name in block}
    declared |= {"local." + name for block in content.get("locals", []) for name in block if name[0] != "_"}
    for prefix, blocks in (("data.", content.get("data", [])), ("", content.get("resource", []))):
        for block in blocks:
            for kind, named in block.items():
                for name, body in named.items():
                    kind, name = kind.strip('"'), name.strip('"')
                    declared.add(f"{prefix}{kind}.{name}")
                    if not prefix:
                        wrong += [f"{name}: {fault}" for fault in wrong_arguments(kind, body)]
print(json.dumps({"declared": sorted(declared), "used": sorted(used), "wrong": wrong}))
