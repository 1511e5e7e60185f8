"""docs/aws-clients.md: its examples run as they stand there, but for the port; its table tells what is installed."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path

import pytest

from .environments import HERE, JAVASCRIPT, ROOT, executable, needs_node, needs_python, node, output, variables
from .served import ACCOUNT, Counts, ServedBroker

PAGE = (ROOT / "docs" / "aws-clients.md").read_text()


def examples() -> dict[tuple[str, str], list[str]]:
    """By heading and language."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for section in PAGE.split("\n## "):
        heading = section.partition("\n")[0]
        for language, code in re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            found[heading, language].append(code)
    return found


EXAMPLES = examples()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedBroker]:
    """As the page assumes it: whoever comes is let in."""
    served = ServedBroker(tmp_path_factory.mktemp("documented"), signed=False)
    yield served
    served.stop()


def example(broker: ServedBroker, heading: str, language: str) -> list[str]:
    port = broker.endpoint.removeprefix("http://127.0.0.1")
    return [code.replace(":4566", port) for code in EXAMPLES[heading, language]]


def counts(broker: ServedBroker, name: str) -> Counts:
    return broker.counts(name, key=ACCOUNT)


@pytest.mark.parametrize(
    ("heading", "environment", "queue"),
    [
        pytest.param("boto3", "boto3", "from-boto3", marks=needs_python("boto3")),
        pytest.param("aioboto3, aiobotocore", "aio", "from-aioboto3", marks=needs_python("aio")),
    ],
)
def test_python_as_documented(broker: ServedBroker, tmp_path: Path, heading: str, environment: str, queue: str) -> None:
    (code,) = example(broker, heading, "python")
    told = variables(tmp_path, broker.endpoint, AWS_ACCESS_KEY_ID=ACCOUNT)
    assert output([executable(environment), "-c", code], told, seconds_max=30.0) == "first order\n"
    assert counts(broker, queue) == Counts()


@needs_python("awscli")
def test_aws_cli_as_documented(broker: ServedBroker, tmp_path: Path) -> None:
    bin_folder = Path(executable("awscli", "aws")).parent
    (code,) = example(broker, "aws-cli", "sh")
    told = variables(
        tmp_path, AWS_ACCESS_KEY_ID=ACCOUNT, AWS_SECRET_ACCESS_KEY="any", AWS_DEFAULT_REGION="eu-central-1"
    )
    told["PATH"] = f"{bin_folder}:{told['PATH']}"
    printed = output(["sh", "-eu", "-c", code], told, seconds_max=60.0)
    assert printed.split("\n") == [ACCOUNT, md5(b"first order").hexdigest(), "first order", ""]
    assert counts(broker, "from-aws-cli") == Counts(in_flight=1)


@needs_node
def test_javascript_as_documented(broker: ServedBroker, tmp_path: Path) -> None:
    code = "".join(example(broker, "JavaScript: AWS SDK v3 and sqs-consumer", "js"))
    code += '\nconsumer.on("message_processed", () => consumer.stop());\n'
    program = tmp_path / "documented.mjs"
    program.write_text(code)
    (tmp_path / "node_modules").symlink_to(JAVASCRIPT / "node_modules")
    interpreter, *_ = node("sdk.mjs")
    assert output([interpreter, str(program)], variables(tmp_path), seconds_max=30.0) == "first order\n"
    assert counts(broker, "from-javascript") == Counts()


@needs_python("celery")
def test_celery_as_documented(broker: ServedBroker, tmp_path: Path) -> None:
    code, predefined = example(broker, "Celery", "python")
    python = [executable("celery"), "-c"]
    output([*python, f"{code}\nship.delay(7)"], variables(tmp_path), seconds_max=30.0)
    assert counts(broker, "from-celery") == Counts(visible=1)

    broker.client(key=ACCOUNT).create_queue(QueueName="celery-predefined")
    lines = [code, predefined, "app.conf.broker_transport_options = broker_transport_options"]
    lines += ["ship.apply_async((7,), queue='celery-predefined')"]
    output([*python, "\n".join(lines)], variables(tmp_path), seconds_max=30.0)
    assert counts(broker, "celery-predefined") == Counts(visible=1)


@needs_python("dramatiq")
def test_dramatiq_as_documented(broker: ServedBroker, tmp_path: Path) -> None:
    (code,) = example(broker, "dramatiq", "python")
    output([executable("dramatiq"), "-c", f"{code}\nship.send(7)"], variables(tmp_path), seconds_max=30.0)
    assert counts(broker, "shop_from-dramatiq") == Counts(visible=1)
    assert counts(broker, "shop_from-dramatiq_dlq") == Counts()


@pytest.mark.parametrize(
    ("heading", "language", "program"),
    [
        ("Go: AWS SDK v2", "go", HERE / "golang" / "main.go"),
        ("Java: AWS SDK 2", "java", HERE / "java" / "src" / "main" / "java" / "clients" / "Sqs.java"),
    ],
)
def test_go_and_java_are_of_the_programs_that_run(heading: str, language: str, program: Path) -> None:
    shown = EXAMPLES[heading, language]
    assert shown
    assert [code for code in shown if code not in program.read_text()] == []


def test_the_table_tells_what_is_installed() -> None:
    pinned = {
        name.lower(): release
        for file in (HERE / "requirements").glob("*.txt")
        if file.stem != "boto3-query"
        for name, release in re.findall(r"^([\w-]+)==(\S+)$", file.read_text(), re.MULTILINE)
    }
    pinned |= json.loads((JAVASCRIPT / "package.json").read_text())["dependencies"]
    go = (HERE / "golang" / "go.mod").read_text()
    java = (HERE / "java" / "pom.xml").read_text()
    rows = {row[0]: row[1] for row in re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|", PAGE, re.MULTILINE)}

    assert rows["aws-cli"] == pinned["awscli"]
    assert rows["aioboto3"] == f"{pinned['aioboto3']} (aiobotocore {pinned['aiobotocore']})"
    assert rows["Celery"] == f"{pinned['celery']} (kombu {pinned['kombu']}, pycurl {pinned['pycurl']})"
    assert rows["dramatiq"] == f"{pinned['dramatiq']} (dramatiq-sqs {pinned['dramatiq-sqs']})"
    assert rows["AWS SDK for JavaScript v3"] == pinned["@aws-sdk/client-sqs"]
    query = pinned["aws-sdk-query"].removeprefix("npm:aws-sdk@")
    assert rows["AWS SDK for JavaScript v2"] == f"{pinned['aws-sdk']}, {query}"
    assert rows["sqs-consumer"] == pinned["sqs-consumer"]
    assert f"service/{rows['AWS SDK for Go v2'].replace(' ', ' v')}\n" in go
    assert f"<aws.sdk.version>{rows['AWS SDK for Java 2']}<" in java
    old = (HERE / "requirements" / "boto3-query.txt").read_text()
    for environment in ((HERE / "requirements" / "boto3.txt").read_text(), old):
        boto3, botocore = (
            re.findall(rf"^{name}==(\S+)$", environment, re.MULTILINE)[0] for name in ("boto3", "botocore")
        )
        assert f"\n| boto3 | {boto3} |" in PAGE or f"\n| boto3 | {boto3} (botocore {botocore}) |" in PAGE
