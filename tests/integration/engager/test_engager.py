"""The Engager on a real MongoDB, with moto's SES and a fake SES that fails in every known way."""

import base64
import json
import socket
import struct
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email import message_from_string
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.monitoring import CommandListener, CommandStartedEvent

from engager.channels.channel import OutboundChannel
from engager.channels.outbound import outbound_channels
from engager.channels.provider import aws_client
from engager.engage import engage
from engager.handler import create_handler
from engager.ledger.ledger import STALE_AFTER, MongoLedger
from engager.ledger.states import DeliveryResult, State
from engager.ports import Deps
from engager.wiring import assemble
from shared.contracts import Activation, Engage
from shared.errors import Unavailable
from shared.ruleset import Campaign, Ruleset, Sender, Trigger
from shared.settings import ENGAGER, Settings
from tests.integration.decider.test_user_state import together
from tests.support.lambdas import Context

NOW = 1_790_000_000_000
STALE_MS = int(STALE_AFTER.total_seconds() * 1000)
TIMEOUT_S = 0.5
KEYS: dict[str, Any] = {"region_name": "eu-central-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
Db = Database[dict[str, Any]]


@dataclass
class FakeSes:
    """An SES endpoint that responds as ``mode`` says, and keeps every request.

    Modes: ok, stall (accepts the e-mail and responds too late), reset (accepts it and resets the connection), or an
    HTTP status with an error code.
    """

    mode: str | tuple[int, str] = "ok"
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        """Respond to one request in the current mode."""
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.requests.append(json.loads(body))
        mode = self.mode
        if mode == "stall":
            time.sleep(2 * TIMEOUT_S)
            return
        if mode == "reset":
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.close_connection = True
            handler.connection.close()
            return
        status, code = mode if isinstance(mode, tuple) else (200, "")
        response = {"message": code} if code else {"MessageId": f"ses-{len(self.requests)}"}
        handler.send_response(status)
        if code:
            handler.send_header("x-amzn-ErrorType", code)
        payload = json.dumps(response).encode()
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload)


@pytest.fixture(name="ses")
def _ses() -> Iterator[FakeSes]:
    """Run a fake SES on a free port."""
    fake = FakeSes()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fake.respond(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(name="site")
def _site(mongodb: Db) -> Db:
    """Publish a site with a popup and an e-mail campaign, and one customer."""
    trigger = Trigger(key="k", program={}, matchers=[], horizon=0)
    email = {"subject": "Hi {{ customer.name }}", "html": "<p>{{ event.item }} for {{ customer.name }}</p>"}
    ruleset = Ruleset(
        "demo",
        1,
        [],
        [
            Campaign("pop", "1", "Pop", trigger, "popup", {"title": "Hi {{ customer.name }}", "layout": "slide_in"}),
            Campaign("mail", "1", "Mail", trigger, "email", email),
        ],
        Sender("hello@shop.example", "Shop"),
    )
    row = {"_id": "demo:1", "site": "demo", "ruleset": msgspec.to_builtins(ruleset)}
    mongodb.rulesets.insert_one(row)
    attributes = {"name": "Ada & Co", "email": "ada@example.com"}
    mongodb.customers.insert_one({"_id": "demo:ada", "site": "demo", "user": "ada", "attributes": attributes})
    return mongodb


def deps(database: Db, ses_url: str, *, now: int = NOW, configuration_set: str = "") -> Deps:
    """Return an Engager on *database* and the SES at *ses_url*, at the time *now*."""
    settings = Settings(
        function=ENGAGER,
        ses_configuration_set=configuration_set,
        signing_secret="s" * 32,
        preferences_url="https://p.example",
        clock=lambda: now,
    )
    given = assemble(settings, database)
    outbound = outbound_channels(
        settings, client=lambda name: aws_client(name, read_timeout_s=TIMEOUT_S, endpoint_url=ses_url, **KEYS)
    )
    return replace(given, ports=replace(given.ports, outbound=outbound))


def activation(name: str = "a1", campaign: str = "mail", user: str = "ada", **changes: Any) -> Activation:
    """Return an activation."""
    channel = "popup" if campaign == "pop" else "email"
    values: dict[str, Any] = {"attributes": {"item": "Book"}, **changes}
    return Activation(name, "demo", user, campaign, 1, channel, NOW - 1500, "Order", "m1", **values)


def deliver(given: Deps, *activations: Activation) -> list[str]:
    """Deliver a batch as SQS would; return the ids of the activations that go back to the queue."""
    records = [
        {"messageId": one.id, "receiptHandle": "r", "body": msgspec.json.encode(one).decode()} for one in activations
    ]
    response = create_handler(given)({"Records": records}, Context())
    return [item["itemIdentifier"] for item in response["batchItemFailures"]]


def row(database: Db, name: str = "a1") -> dict[str, Any]:
    """Return an activation's row."""
    found = database.activations.find_one({"_id": name})
    assert found is not None
    return found


def test_an_email_arrives_as_mime(site: Db, aws: Any) -> None:
    """SES gets one raw message with both parts; the ledger has it as sent, with the id of SES."""
    aws.client("sesv2").create_email_identity(EmailIdentity="shop.example")
    assert deliver(deps(site, aws.url), activation()) == []
    with urllib.request.urlopen(f"{aws.url}/moto-api/data.json") as data:
        sent = [mail for mail in json.load(data)["ses"]["RawMessage"] if mail["id"] == row(site)["provider_id"]]
    assert len(sent) == 1
    message = message_from_string(sent[0]["raw_data"], policy=default)
    assert (message["To"], message["From"], message["Subject"]) == (
        "ada@example.com",
        "Shop <hello@shop.example>",
        "Hi Ada & Co",
    )
    contents = [part.get_content().strip() for part in message.iter_parts()]
    for content, text in zip(contents, ("Book for Ada & Co", "<p>Book for Ada &amp; Co</p>"), strict=True):
        assert content.startswith(text)
    assert all("https://p.example/unsubscribe/" in content for content in contents)
    assert row(site)["state"] == "sent"


def test_the_row_has_every_field(site: Db, ses: FakeSes) -> None:
    """The row has everything about the activation and its delivery."""
    deliver(deps(site, ses.url), activation(per='["c1"]'))
    now = datetime.fromtimestamp(NOW / 1000, UTC)
    assert row(site) == {
        "_id": "a1",
        "site": "demo",
        "user": "ada",
        "campaign": "mail",
        "ruleset": 1,
        "channel": "email",
        "event": "Order",
        "message_id": "m1",
        "per": '["c1"]',
        "at": datetime.fromtimestamp((NOW - 1500) / 1000, UTC),
        "due": datetime.fromtimestamp((NOW - 1500) / 1000, UTC),
        "attempts": 1,
        "created": now,
        "updated": now,
        "state": "sent",
        "provider_id": "ses-1",
    }


def test_ses_gets_tag_and_configuration_set(site: Db, ses: FakeSes) -> None:
    """The configuration set publishes events, and the tag in them finds the activation."""
    deliver(deps(site, ses.url, configuration_set="opportune"), activation())
    (request,) = ses.requests
    assert {"Name": "activation_id", "Value": "a1"} in request["EmailTags"]
    assert request["ConfigurationSetName"] == "opportune"
    assert request["Destination"] == {"ToAddresses": ["ada@example.com"]}
    assert b"Subject: Hi Ada & Co" in base64.b64decode(request["Content"]["Raw"]["Data"])


def test_the_same_email_in_many_threads_is_one_mail(site: Db, ses: FakeSes) -> None:
    """One of several copies of a message is sent; the others go back to the queue meanwhile."""
    given = deps(site, ses.url).ports
    refused: list[str] = []
    all_refused = threading.Event()

    def prepare(*arguments: Any) -> Callable[[], DeliveryResult]:
        call = given.outbound["email"].prepare(*arguments)

        def slow() -> DeliveryResult:
            assert all_refused.wait(60)
            return call()

        return slow

    ports = replace(given, outbound={"email": OutboundChannel(prepare)})

    def copy(_: int) -> State | None:
        try:
            return engage(activation(), ports).state
        except Unavailable as error:
            refused.append(error.code)
            if len(refused) == 7:
                all_refused.set()
            return None

    assert Counter(together(8, copy)) == {State.SENT: 1, None: 7}
    assert refused == ["in_progress"] * 7
    assert engage(activation(), given).state is None
    assert len(ses.requests) == 1
    assert row(site)["state"] == "sent"


@pytest.mark.parametrize("mode", ["stall", "reset", (500, "InternalServiceError"), (503, "ServiceUnavailable")])
def test_an_ambiguous_send_is_unknown_and_never_retried(site: Db, ses: FakeSes, mode: str | tuple[int, str]) -> None:
    """SES may have accepted the e-mail: there is exactly one request, also after a redelivery."""
    ses.mode = mode
    given = deps(site, ses.url)
    assert deliver(given, activation()) == []
    assert row(site)["state"] == "unknown"
    assert row(site)["reason"]
    ses.mode = "ok"
    assert deliver(given, activation()) == []
    assert len(ses.requests) == 1


@pytest.mark.parametrize(
    "refusal",
    [(429, "TooManyRequestsException"), (400, "ThrottlingException"), (400, "LimitExceededException")],
)
def test_a_throttled_email_is_sent_once_later(site: Db, ses: FakeSes, refusal: tuple[int, str]) -> None:
    """The message goes back to the queue until SES accepts it. Then it is sent once."""
    ses.mode = refusal
    given = deps(site, ses.url)
    assert deliver(given, activation()) == ["a1"]
    assert deliver(given, activation()) == ["a1"]
    assert (row(site)["state"], row(site)["reason"]) == ("failed_retryable", refusal[1])
    ses.mode = "ok"
    assert deliver(given, activation()) == []
    assert deliver(given, activation()) == []
    assert len(ses.requests) == 3
    assert (row(site)["state"], row(site)["attempts"]) == ("sent", 3)
    assert "reason" not in row(site)


def test_a_refused_email_is_final(site: Db, ses: FakeSes) -> None:
    """A definite refusal of SES is not retried; its code is the reason."""
    ses.mode = (400, "MessageRejected")
    given = deps(site, ses.url)
    assert deliver(given, activation()) == []
    assert deliver(given, activation()) == []
    assert (row(site)["state"], row(site)["reason"]) == ("failed_final", "MessageRejected")
    assert len(ses.requests) == 1


def test_a_call_that_never_left_is_retryable(site: Db) -> None:
    """Without a connection nothing was sent, so the queue may retry."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert deliver(deps(site, url), activation()) == ["a1"]
    assert (row(site)["state"], row(site)["reason"]) == ("failed_retryable", "EndpointConnectionError")


@pytest.mark.parametrize(
    ("user", "attributes", "reason"),
    [
        ("eve", None, "no_customer"),
        ("bob", {}, "no_address"),
        ("bob", {"email": "a@b.c, d@e.f"}, "invalid_address"),
    ],
)
def test_an_email_without_an_address_is_final(
    site: Db, ses: FakeSes, user: str, attributes: dict[str, Any] | None, reason: str
) -> None:
    """An unknown customer, or one without exactly one address, is in the ledger with the reason."""
    if attributes is not None:
        site.customers.insert_one({"_id": f"demo:{user}", "site": "demo", "user": user, "attributes": attributes})
    assert deliver(deps(site, ses.url), activation(user=user)) == []
    assert (row(site)["state"], row(site)["reason"]) == ("failed_final", reason)
    assert not ses.requests


def test_an_interrupted_send_becomes_unknown(site: Db, ses: FakeSes) -> None:
    """A row left in `sending` keeps its copy in the queue, and becomes unknown after twice the timeout."""
    dead = MongoLedger(site.activations, lambda: NOW)
    assert dead.claim(activation())
    assert deliver(deps(site, ses.url, now=NOW + STALE_MS), activation()) == ["a1"]
    assert row(site)["state"] == "sending"
    assert deliver(deps(site, ses.url, now=NOW + STALE_MS + 1), activation()) == []
    assert (row(site)["state"], row(site)["reason"]) == ("unknown", "interrupted")
    assert not ses.requests


def test_interrupted_sends_are_found_without_redelivery(site: Db, ses: FakeSes) -> None:
    """A sweep marks stale rows as unknown, and leaves rows in other states as they are."""
    dead = MongoLedger(site.activations, lambda: NOW)
    for name in ("a1", "a2"):
        assert dead.claim(activation(name))
    dead.settle("a2", DeliveryResult(State.SENT))
    late = deps(site, ses.url, now=NOW + STALE_MS + 1)
    assert deliver(late, activation("a3")) == []
    swept = create_handler(late)({"type": "sweep"}, Context())
    assert swept["interrupted"] == 1
    assert [row(site, name)["state"] for name in ("a1", "a2", "a3")] == ["unknown", "sent", "sent"]


def test_a_late_result_corrects_unknown(site: Db, ses: FakeSes) -> None:
    """A slow Engager that seemed to be dead still settles its own activation."""
    slow = MongoLedger(site.activations, lambda: NOW)
    assert slow.claim(activation())
    create_handler(deps(site, ses.url, now=NOW + STALE_MS + 1))({"type": "sweep"}, Context())
    assert (row(site)["state"], row(site)["reason"]) == ("unknown", "interrupted")
    slow.settle("a1", DeliveryResult(State.SENT, provider_id="p1"))
    assert (row(site)["state"], row(site)["provider_id"]) == ("sent", "p1")
    assert "reason" not in row(site)


def test_concurrent_repeats_get_one_popup(site: Db) -> None:
    """Concurrent repeats of an event all get the stored popup, although the customer changes."""
    start = threading.Barrier(8)
    contents: list[dict[str, Any]] = []
    given = deps(site, "http://127.0.0.1:9")
    request = msgspec.to_builtins(Engage([activation(campaign="pop")], NOW + 5_000))

    def run(number: int) -> None:
        start.wait()
        site.customers.update_one({"_id": "demo:ada"}, {"$set": {"attributes.name": f"Ada {number}"}})
        contents.append(create_handler(given)(request, Context())["contents"]["a1"])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = row(site)
    assert contents == [stored["content"]] * 8
    assert stored["state"] == "sent"
    assert stored["content"]["title"].startswith("Hi Ada")
    assert stored["content"]["layout"] == "slide_in"


def test_a_batch_of_suppressed_is_recorded_once(site: Db, ses: FakeSes) -> None:
    """Repeats in a batch and rows that exist change nothing and fail nothing."""
    given = deps(site, ses.url)
    assert deliver(given, activation("a0")) == []
    many = [activation(f"a{n}", suppressed="cap") for n in (0, 1, 2, 2)]
    for _ in range(2):
        assert deliver(given, *many) == []
    assert [row(site, name)["state"] for name in ("a0", "a1", "a2")] == ["sent", "suppressed", "suppressed"]
    assert row(site, "a1")["reason"] == "cap"
    assert len(ses.requests) == 1


class Writes(CommandListener):
    """Records every command that the database gets."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Record a command."""
        self.commands.append((event.command_name, event.command.get("writeConcern", {}).get("w")))

    def succeeded(self, event: Any) -> None:
        """Do nothing."""

    def failed(self, event: Any) -> None:
        """Do nothing."""


@contextmanager
def watched(database: Db, writes: Writes) -> Iterator[Db]:
    """Open *database* again through a client that records its commands."""
    host, port = database.client.address or ("", 0)
    with MongoClient[dict[str, Any]](
        host, port, directConnection=True, tz_aware=True, event_listeners=[writes]
    ) as client:
        yield client[database.name]


def test_a_popup_costs_one_majority_write(site: Db) -> None:
    """A popup costs one read, of the customer, and one majority insert. Everything else is cached."""
    writes = Writes()
    with watched(site, writes) as database:
        given = deps(database, "http://127.0.0.1:9")
        for name in ("a1", "a2"):
            request = Engage([activation(name, "pop")], NOW + 5_000)
            create_handler(given)(msgspec.to_builtins(request), Context())
    assert [each for each in writes.commands if each[0] != "endSessions"] == [
        *[("find", None)] * 4,
        ("insert", "majority"),
        ("find", None),
        ("insert", "majority"),
    ]


def test_an_email_costs_three_reads_and_two_writes(site: Db, ses: FakeSes) -> None:
    """The reads: the tombstone, the customer, and the opt-outs together with the pauses. The rest is cached."""
    writes = Writes()
    with watched(site, writes) as database:
        given = deps(database, ses.url)
        deliver(given, activation("a1"))
        writes.commands.clear()
        deliver(given, activation("a2"))
    assert [each for each in writes.commands if each[0] != "endSessions"] == [
        ("find", None),
        ("find", None),
        ("aggregate", None),
        ("insert", "majority"),
        ("update", "majority"),
    ]


def test_nothing_is_sent_without_the_ledger(site: Db, ses: FakeSes) -> None:
    """Without the database, the message goes back to the queue, and SES gets nothing."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with MongoClient[dict[str, Any]]("127.0.0.1", port, serverSelectionTimeoutMS=200) as away:
            given = deps(site, ses.url)
            ledger = MongoLedger(away["x"].activations, lambda: NOW)
            broken = replace(given, ports=replace(given.ports, ledger=ledger))
            assert deliver(broken, activation()) == ["a1"]
            popup = msgspec.to_builtins(Engage([activation(campaign="pop")], NOW + 300))
            with pytest.raises(Unavailable):
                create_handler(broken)(popup, Context())
    assert not ses.requests


def test_the_wiring_builds_a_working_engager(site: Db) -> None:
    """Settings are enough, and a popup needs neither SES nor credentials."""
    env = {
        "OPPORTUNE_MONGODB_URL": "mongodb://127.0.0.1",
        "OPPORTUNE_MONGODB_DATABASE": site.name,
        "OPPORTUNE_SIGNING_SECRET": "s" * 32,
        "OPPORTUNE_PREFERENCES_URL": "https://p.example",
    }
    built = assemble(Settings.from_env(env, ENGAGER), site)
    request = msgspec.to_builtins(Engage([activation(campaign="pop")], int(time.time() * 1000) + 5_000))
    response = create_handler(built)(request, Context())
    assert response["contents"]["a1"]["title"] == "Hi Ada & Co"
