"""Powertools formats what the function logs, itself or with the handler of the root logger, and prints metrics."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from tests.attach.harness import AWS, INSTALLS, Attached, Function, Recorded
from tests.attach.plain import without

TEXT = Function(
    ("powertools",),
    {
        "app.py": """
            import logging

            from aws_lambda_powertools import Logger, Metrics, single_metric
            from aws_lambda_powertools.logging.utils import copy_config_to_registered_loggers
            from aws_lambda_powertools.utilities.data_classes import SQSEvent, event_source
            from aws_lambda_powertools.utilities.typing import LambdaContext

            logger = Logger(service="orders")
            child = Logger(service="orders", child=True)
            metrics = Metrics(namespace="shop", service="orders")
            other = logging.getLogger("library")
            copy_config_to_registered_loggers(source_logger=logger, include={"library"})
            logging.getLogger("plain").warning("not with Powertools, at INIT")

            @logger.inject_lambda_context(log_event=True, clear_state=True)
            @metrics.log_metrics(capture_cold_start_metric=True)
            @event_source(data_class=SQSEvent)
            def handler(event: SQSEvent, context: LambdaContext):
                logger.append_keys(event=event.raw_event["number"])
                child.info("by the child")
                other.info("by a library")
                logging.getLogger("plain").warning("not with Powertools")
                logging.getLogger("plain").warning("not with Powertools", extra={"key": 1})
                metrics.add_metric(name="ordered", unit="Count", value=1)
                try:
                    1 / (event.raw_event["number"] - 2)
                except ZeroDivisionError:
                    logger.exception("caught")
                    raise
                return context.function_name
        """
    },
    ({"number": 1}, {"number": 2}, {"number": 3}),
)
JSON = replace(TEXT, env={"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"})
CHANCE = ("timestamp", "Timestamp")
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")


def lines(recorded: Recorded) -> list[Any]:
    """Return what was logged and printed, a document for each line of JSON, without times."""
    return [
        without(CHANCE, json.loads(line)) if line.startswith("{") else TIME.sub("", line)
        for line in recorded.output.splitlines()
    ]


@pytest.mark.parametrize("install", INSTALLS)
@pytest.mark.parametrize("function", [TEXT, JSON], ids=["text", "json"])
def test_powertools_logs_the_same(attached: Attached, install: str, function: Function) -> None:
    expected, ours = (attached(function, which) for which in (AWS, install))
    assert ours.posts == expected.posts
    assert lines(ours) == lines(expected)
    assert len([line for line in lines(expected) if "_aws" in line]) == 4  # a cold start and three events
