"""boto3 and SQLAlchemy in a function that serves 16 invocations at once in one process. Web frameworks:
test_web_concurrent.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from samovar.local.testing.scripted_api import ScriptedRuntimeApi, invocation
from tests.conftest import ROOT
from tests.deploy.conftest import TOOLS

LIMIT, EVENTS = 16, 200

BOTO3 = """
import os, boto3

s3 = boto3.client("s3", endpoint_url=os.environ["ENDPOINT"])
s3.create_bucket(Bucket="bucket")
clients = {id(s3)}

def handler(event, context):
    key = f"{context.aws_request_id}/{event}"
    s3.put_object(Bucket="bucket", Key=key, Body=str(event).encode())
    clients.add(id(s3))
    body = s3.get_object(Bucket="bucket", Key=key)["Body"].read()
    return [key, int(body), len(clients)]
"""

SQLALCHEMY = """
import os, threading, time
from sqlalchemy import Integer, String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

class Base(DeclarativeBase):
    pass

class Row(Base):
    __tablename__ = "rows"
    key: Mapped[str] = mapped_column(String, primary_key=True)
    value: Mapped[int] = mapped_column(Integer)

engine = create_engine(f"sqlite:///{os.environ['DATABASE']}", pool_size=4, max_overflow=0, connect_args={"timeout": 60})
Base.metadata.create_all(engine)
Session = sessionmaker(engine)

def handler(event, context):
    key = context.aws_request_id
    with Session.begin() as session:
        session.add(Row(key=key, value=event))
    with Session() as session:
        value = session.scalars(select(Row.value).where(Row.key == key)).one()
    return [f"{key}/{event}", value, 1]
"""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """Start moto's server, which answers as AWS's APIs do, on a free port; return its address."""
    if not TOOLS.exists():
        pytest.skip("run make deploy-tools: moto's server comes with it")
    program = ROOT / "tests" / "deploy" / "in_tools" / "moto_server.py"
    with subprocess.Popen([TOOLS / "python", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


@pytest.mark.parametrize("mode", ["thread", "hybrid"])
def test_one_boto3_client_serves_16_invocations_at_once(tmp_path: Path, endpoint: str, mode: str) -> None:
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    region = {"AWS_DEFAULT_REGION": "us-east-1"}  # where a bucket may be created twice: hybrid has two processes
    _each_gets_its_own(tmp_path, BOTO3, mode, {**credentials, **region, "ENDPOINT": endpoint})


def test_sqlalchemy_sessions_of_16_invocations_share_a_pool(tmp_path: Path) -> None:
    packages = ROOT / "build" / "attach" / "sqlalchemy"
    if not packages.exists():
        pytest.skip("run make attach: build/attach has no sqlalchemy")
    variables = {"DATABASE": str(tmp_path / "data.db"), "PYTHONPATH": str(packages)}
    _each_gets_its_own(tmp_path, SQLALCHEMY, "thread", variables)


def _each_gets_its_own(folder: Path, source: str, mode: str, variables: dict[str, str]) -> None:
    (folder / "app.py").write_text(source)
    with ScriptedRuntimeApi(*(invocation(str(number).encode(), f"id-{number}") for number in range(EVENTS))) as api:
        environment = {
            **os.environ,
            **variables,
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "AWS_LAMBDA_MAX_CONCURRENCY": str(LIMIT),
            "AWS_LAMBDA_CONCURRENCY_MODE": mode,
            "_HANDLER": "app.handler",
            "LAMBDA_TASK_ROOT": str(folder),
            "SAMOVAR_PYTHON": sys.executable,
        }
        with subprocess.Popen([ROOT / "bootstrap"], env=environment, cwd=folder) as runtime:
            try:
                api.wait(lambda requests: sum(request.method == "POST" for request in requests) == EVENTS)
                posted = api.posted()
            finally:
                runtime.kill()
    answers = {request.path.split("/")[4]: json.loads(request.body) for request in posted}
    assert answers == {f"id-{number}": [f"id-{number}/{number}", number, 1] for number in range(EVENTS)}
    connections = {request.connection for request in posted}
    assert len(connections) == LIMIT
