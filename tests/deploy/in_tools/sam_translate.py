"""Runs in .venv-sam: prints, as JSON, what the SAM template becomes at CloudFormation."""

import json
import sys
from pathlib import Path

from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

template = yaml_parse(Path(sys.argv[1]).read_text())
for function in template["Resources"].values():
    function.get("Properties", {}).pop("CodeUri", None)
template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
print(json.dumps(Translator({}, Parser()).translate(template, parameter_values=json.loads(sys.argv[2]))))
