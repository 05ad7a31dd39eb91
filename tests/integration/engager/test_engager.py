"""The Engager on a real MongoDB, with moto's SES and a fake one that fails in every known way."""

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

from engager.channels import outbound
from engager.channels.ses import ses_client
from engager.engage import engage
from engager.handler import Deps, create_handler
from engager.ledger.ledger import STALE_AFTER, MongoLedger
from engager.ledger.states import Outcome, State
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
KEYS = {"region_name": "eu-central-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}
Db = Database[dict[str, Any]]


@dataclass
class FakeSes:
    """An SES endpoint that answers in ``mode``, and keeps every request that reached it.

    Modes: ok, stall (takes the mail, never answers in time), reset (takes it, cuts the connection),
    or an HTTP status with an error code.
    """

    mode: str | tuple[int, str] = "ok"
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request in the present mode."""
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
        answer = {"message": code} if code else {"MessageId": f"ses-{len(self.requests)}"}
        handler.send_response(status)
        if code:
            handler.send_header("x-amzn-ErrorType", code)
        payload = json.dumps(answer).encode()
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload)


@pytest.fixture(name="ses")
def _ses() -> Iterator[FakeSes]:
    """Run a fake SES on a port of the system's choice."""
    fake = FakeSes()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fake.answer(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
            """Say nothing."""

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
    outward = outbound.outward(
        settings, client=lambda _: ses_client(read_timeout_s=TIMEOUT_S, endpoint_url=ses_url, **KEYS)
    )
    return replace(given, ports=replace(given.ports, outward=outward))


def activation(name: str = "a1", campaign: str = "mail", user: str = "ada", **changes: Any) -> Activation:
    """Return an activation."""
    channel = "popup" if campaign == "pop" else "email"
    values: dict[str, Any] = {"attributes": {"item": "Book"}, **changes}
    return Activation(name, "demo", user, campaign, 1, channel, NOW - 1500, "Order", "m1", **values)


def deliver(given: Deps, *activations: Activation) -> list[str]:
    """Deliver a batch as SQS would; return the ids of the activations that are handed back."""
    records = [
        {"messageId": one.id, "receiptHandle": "r", "body": msgspec.json.encode(one).decode()} for one in activations
    ]
    answer = create_handler(given)({"Records": records}, Context())
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def row(database: Db, name: str = "a1") -> dict[str, Any]:
    """Return an activation's row."""
    found = database.activations.find_one({"_id": name})
    assert found is not None
    return found


def test_an_email_arrives_as_mime(site: Db, aws: Any) -> None:
    """SES gets one raw message with both parts; the ledger says sent, with the id that SES gave."""
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


def test_the_row_tells_the_whole_story(site: Db, ses: FakeSes) -> None:
    """Site, user, campaign, ruleset, channel, event, message, run, match time and states are in the row."""
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
    """Events of SES come back with the activation's id, through the configuration set."""
    deliver(deps(site, ses.url, configuration_set="opportune"), activation())
    (request,) = ses.requests
    assert {"Name": "activation_id", "Value": "a1"} in request["EmailTags"]
    assert request["ConfigurationSetName"] == "opportune"
    assert request["Destination"] == {"ToAddresses": ["ada@example.com"]}
    assert b"Subject: Hi Ada & Co" in base64.b64decode(request["Content"]["Raw"]["Data"])


def test_the_same_email_in_many_threads_is_one_mail(site: Db, ses: FakeSes) -> None:
    """Copies of a message meet at the ledger: one sends, the others wait in the queue until that is over."""
    given = deps(site, ses.url).ports
    turned_away: list[str] = []
    all_others = threading.Event()

    def prepare(*prepared: Any) -> Callable[[], Outcome]:
        call = given.outward["email"](*prepared)

        def slow() -> Outcome:
            assert all_others.wait(60)
            return call()

        return slow

    ports = replace(given, outward={"email": prepare})

    def copy(_: int) -> State | None:
        try:
            return engage(activation(), ports).state
        except Unavailable as error:
            turned_away.append(error.code)
            if len(turned_away) == 7:
                all_others.set()
            return None

    assert Counter(together(8, copy)) == {State.SENT: 1, None: 7}
    assert turned_away == ["in_progress"] * 7
    assert engage(activation(), given).state is None
    assert len(ses.requests) == 1
    assert row(site)["state"] == "sent"


@pytest.mark.parametrize("mode", ["stall", "reset", (500, "InternalServiceError"), (503, "ServiceUnavailable")])
def test_an_ambiguous_send_is_unknown_and_never_repeated(site: Db, ses: FakeSes, mode: str | tuple[int, str]) -> None:
    """SES may have taken the mail: exactly one request, no redelivery, and a redelivery sends nothing."""
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
    """The queue gets the message back until SES takes it; then once, and no more."""
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
    """What SES will never take is not offered again; its code is the reason."""
    ses.mode = (400, "MessageRejected")
    given = deps(site, ses.url)
    assert deliver(given, activation()) == []
    assert deliver(given, activation()) == []
    assert (row(site)["state"], row(site)["reason"]) == ("failed_final", "MessageRejected")
    assert len(ses.requests) == 1


def test_a_call_that_never_left_is_retryable(site: Db) -> None:
    """Where no connection came about, nothing can have been sent, so the queue may try again."""
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
def test_an_email_to_nobody_is_final(
    site: Db, ses: FakeSes, user: str, attributes: dict[str, Any] | None, reason: str
) -> None:
    """An unknown customer, or one without one address, ends in the ledger with the reason."""
    if attributes is not None:
        site.customers.insert_one({"_id": f"demo:{user}", "site": "demo", "user": user, "attributes": attributes})
    assert deliver(deps(site, ses.url), activation(user=user)) == []
    assert (row(site)["state"], row(site)["reason"]) == ("failed_final", reason)
    assert not ses.requests


def test_an_interrupted_send_becomes_unknown(site: Db, ses: FakeSes) -> None:
    """A row left in `sending` is let alone at first, its copy kept, and named unknown after twice the timeout."""
    dead = MongoLedger(site.activations, lambda: NOW)
    assert dead.claim(activation())
    assert deliver(deps(site, ses.url, now=NOW + STALE_MS), activation()) == ["a1"]
    assert row(site)["state"] == "sending"
    assert deliver(deps(site, ses.url, now=NOW + STALE_MS + 1), activation()) == []
    assert (row(site)["state"], row(site)["reason"]) == ("unknown", "interrupted")
    assert not ses.requests


def test_interrupted_sends_are_found_without_redelivery(site: Db, ses: FakeSes) -> None:
    """A sweep names what is stale; rows in other states are not touched."""
    dead = MongoLedger(site.activations, lambda: NOW)
    for name in ("a1", "a2"):
        assert dead.claim(activation(name))
    dead.settle("a2", Outcome(State.SENT))
    late = deps(site, ses.url, now=NOW + STALE_MS + 1)
    assert deliver(late, activation("a3")) == []
    swept = create_handler(late)({"type": "sweep"}, Context())
    assert swept["interrupted"] == 1
    assert [row(site, name)["state"] for name in ("a1", "a2", "a3")] == ["unknown", "sent", "sent"]


def test_the_one_who_knows_corrects_unknown(site: Db, ses: FakeSes) -> None:
    """A slow Engager that was taken for dead still settles its own activation."""
    slow = MongoLedger(site.activations, lambda: NOW)
    assert slow.claim(activation())
    create_handler(deps(site, ses.url, now=NOW + STALE_MS + 1))({"type": "sweep"}, Context())
    assert (row(site)["state"], row(site)["reason"]) == ("unknown", "interrupted")
    slow.settle("a1", Outcome(State.SENT, provider_id="p1"))
    assert (row(site)["state"], row(site)["provider_id"]) == ("sent", "p1")
    assert "reason" not in row(site)


def test_one_popup_for_all_that_ask(site: Db) -> None:
    """Concurrent repeats of an event all get the popup that is in the ledger, though the customer changes."""
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
    """Repeats among them, and rows that are there already, change nothing and fail nothing."""
    given = deps(site, ses.url)
    assert deliver(given, activation("a0")) == []
    many = [activation(f"a{n}", suppressed="cap") for n in (0, 1, 2, 2)]
    for _ in range(2):
        assert deliver(given, *many) == []
    assert [row(site, name)["state"] for name in ("a0", "a1", "a2")] == ["sent", "suppressed", "suppressed"]
    assert row(site, "a1")["reason"] == "cap"
    assert len(ses.requests) == 1


class Writes(CommandListener):
    """Notes every command that the database gets."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, Any]] = []

    def started(self, event: CommandStartedEvent) -> None:
        """Note a command."""
        self.commands.append((event.command_name, event.command.get("writeConcern", {}).get("w")))

    def succeeded(self, event: Any) -> None:
        """Nothing to do."""

    def failed(self, event: Any) -> None:
        """Nothing to do."""


@contextmanager
def watched(database: Db, writes: Writes) -> Iterator[Db]:
    """Open *database* again, through a client that notes commands."""
    host, port = database.client.address or ("", 0)
    with MongoClient[dict[str, Any]](
        host, port, directConnection=True, tz_aware=True, event_listeners=[writes]
    ) as client:
        yield client[database.name]


def test_a_popup_costs_one_majority_write(site: Db) -> None:
    """A popup is one read, of the customer, and one majority insert; all else is read once: who is forgotten, too."""
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


def test_nothing_is_sent_without_the_ledger(site: Db, ses: FakeSes) -> None:
    """With the database away the message goes back to the queue and SES hears nothing."""
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
    """Settings are all it takes; a popup needs neither SES nor credentials."""
    env = {
        "OPPORTUNE_MONGODB_URL": "mongodb://127.0.0.1",
        "OPPORTUNE_MONGODB_DATABASE": site.name,
        "OPPORTUNE_SIGNING_SECRET": "s" * 32,
        "OPPORTUNE_PREFERENCES_URL": "https://p.example",
    }
    built = assemble(Settings.from_env(env, ENGAGER), site)
    request = msgspec.to_builtins(Engage([activation(campaign="pop")], int(time.time() * 1000) + 5_000))
    answer = create_handler(built)(request, Context())
    assert answer["contents"]["a1"]["title"] == "Hi Ada & Co"
