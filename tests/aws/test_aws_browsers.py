"""What a web page of somebody else cannot have a broker do that trusts its callers, and what local tools can."""

from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from broker.api.aws.cors import Cors
from broker.api.web.messages import Request
from tests.api.running import Broker, broker

from .app import App, body_of

LIST = "/?Action=ListQueues"


@pytest.fixture
def app() -> Iterator[App]:
    with App() as running:
        yield running


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_image_of_another_site_calls_nothing(app: App, method: str, site: str) -> None:
    target = "/?Action=CreateQueue&QueueName=made-by-an-image"
    answer = app.answer(Request(method, target, {"host": "localhost:4566", "sec-fetch-site": site}, b""))
    assert answer.status == 403
    assert b"made-by-an-image" not in body_of(app.get(LIST))


@pytest.mark.parametrize("site", ["none", "same-origin"])
def test_an_address_that_a_person_typed_is_called(app: App, site: str) -> None:
    assert app.get(LIST, sec_fetch_site=site).status == 200


def test_pages_that_are_allowed_may_do_all_that_pages_can() -> None:
    with App(origins=("*",)) as app:
        assert app.get(LIST, sec_fetch_site="cross-site").status == 200
    with App(origins=("https://a.example",)) as app:
        assert app.get(LIST, sec_fetch_site="cross-site", origin="https://a.example").status == 200
        assert app.get(LIST, sec_fetch_site="cross-site").status == 403


@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("localhost:4566", False),
        ("127.0.0.1:4566", False),
        ("[::1]:4566", False),
        ("192.168.1.20", False),
        ("heddle:4566", False),
        ("my_service", False),
        ("sqs.us-east-1.localhost:4566", False),
        ("host.docker.internal:4566", False),
        ("heddle.jobs.svc.cluster.local", False),
        ("heddle.jobs.svc", False),
        ("Broker.Example:4566", False),
        ("evil.example", True),
        ("evil.example:4566", True),
        ("localhost.evil.example", True),
        ("127.0.0.1.evil.example:4566", True),
        ("broker.example.evil.example", True),
        ("evil.example:4566:localhost", True),
    ],
)
def test_a_name_that_was_turned_to_this_machine_is_not_its_own(host: str, refused: bool) -> None:
    cors = Cors(hosts=["broker.example"])
    get = Request("GET", LIST, {"host": host}, b"")
    assert (cors.refusal(get) is not None) is refused
    assert Cors().refusal(get) is None
    # SDKs only ever POST, under any name; a browser's POST names its origin, which is refused as such.
    assert cors.refusal(Request("POST", "/", {"host": host}, b"Action=ListQueues")) is None


@pytest.mark.parametrize("origin", ["null", "http://evil.example:4566", "http://localhost.evil.example", "", "file://"])
def test_the_pages_of_others_have_origins_that_are_refused(app: App, origin: str) -> None:
    create = {"Action": "CreateQueue", "QueueName": "made-by-a-form"}
    assert app.query(create, origin=origin).status == 403
    assert b"made-by-a-form" not in body_of(app.get(LIST))


def test_a_broker_that_trusts_everybody_knows_its_names(tmp_path: Path) -> None:
    with broker(tmp_path / "data", "--aws", "127.0.0.1:0", "--external-url", "https://own.example:8443") as running:
        assert get(running, "evil.example:4566")[0] == 403
        assert get(running, "own.example:8443")[0] == get(running, str(running.aws))[0] == 200


def test_a_broker_that_verifies_answers_under_any_name(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials.toml"
    credentials.touch(0o600)
    entry = 'access_key_id = "AKIA"\nsecret_access_key = "sixteen-letters-or-more"\naccount = "111122223333"\n'
    credentials.write_text(f"[[credentials]]\n{entry}")
    flags = ["--aws", "127.0.0.1:0", "--aws-auth", "sigv4", "--aws-credentials-file", str(credentials)]
    with broker(tmp_path / "data", *flags) as running:
        assert b"MissingAuthenticationToken" in get(running, "evil.example:4566")[1]


def get(running: Broker, host: str) -> tuple[int, bytes]:
    connection = HTTPConnection(str(running.aws), timeout=10)
    connection.request("GET", LIST, headers={"Host": host})
    answer = connection.getresponse()
    told = answer.status, answer.read()
    connection.close()
    return told


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "M-SEARCH", "get"])
def test_other_methods_call_nothing(app: App, method: str) -> None:
    headers = {"host": "localhost", "content-type": "application/x-www-form-urlencoded"}
    for target, body in (("/?Action=CreateQueue&QueueName=q", b""), ("/", b"Action=CreateQueue&QueueName=q")):
        answer = app.answer(Request(method, target, headers, body))
        assert (answer.status, dict(answer.headers)["allow"]) == (405, "GET, POST")
    assert b"QueueUrl" not in body_of(app.get(LIST))
