"""The handler: every payload, partial batch responses, deadlines, and logs without personal data."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from engager.controls import Control
from engager.handler import create_handler
from engager.ledger.states import State
from engager.mail_events import RecordedMailEvent
from engager.ports import Deps, SweepPorts
from shared.contracts import VERSION, Activation, Conversion, Engage, ForgetUser, Sweep
from shared.errors import InvalidRequest, Unavailable
from shared.observability import observe
from shared.ruleset import Campaign, Ruleset, Sender, Trigger
from tests.support.engager_ports import NOW, World
from tests.support.lambdas import Context

TRIGGER = Trigger(key="k", program={}, matchers=[], horizon=0)
RULESET = Ruleset(
    "demo",
    1,
    [],
    [
        Campaign("pop", "1", "Pop", TRIGGER, "popup", {"title": "Hi"}),
        Campaign("mail", "1", "Mail", TRIGGER, "email", {"subject": "Hi", "text": "x"}),
        Campaign("other", "1", "Other", TRIGGER, "email", {"subject": "Hi", "text": "x"}),
    ],
    Sender("hello@shop.example"),
)


@dataclass
class Lab:
    """A world, and what the handler did beyond it.

    ``deadlines``: of the database, in seconds. ``warnings``: logged by sweeps. ``invoked``: functions and payloads.
    """

    world: World = field(default_factory=lambda: World(known={"ada": {}, "bob": {}}))
    deadlines: list[float] = field(default_factory=list)
    converted: list[Conversion] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    invoked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @contextmanager
    def db_deadline(self, seconds: float) -> Iterator[None]:
        """Record the deadline."""
        self.deadlines.append(seconds)
        yield

    def mark_conversions(self, conversions: Sequence[Conversion]) -> None:
        """Record conversions."""
        self.converted += conversions

    def log_warning(self, _: str, extra: dict[str, Any]) -> None:
        """Record what is logged."""
        self.warnings.append(extra)


def handle(lab: Lab, event: dict[str, Any], context: Context | None = None) -> Any:
    """Call the handler as Lambda does: JSON types in, JSON types out."""
    deps = Deps(
        ports=lab.world.ports(RULESET),
        sweep=SweepPorts(lab.world, lambda: 2, lambda: None, lab.log_warning),
        mark_conversions=lab.mark_conversions,
        record_mail_event=lambda _: RecordedMailEvent("Send", known=True),
        forget=lambda site, user: {f"{site}:{user}": 1},
        db_deadline=lab.db_deadline,
        clock=lambda: NOW,
        observability=observe("engager"),
        invoke_async=lambda function, payload: lab.invoked.append((function, payload)),
    )
    response = create_handler(deps)(json.loads(json.dumps(event)), context or Context())
    return json.loads(json.dumps(response))


def activation(name: str, campaign: str = "mail", user: str = "ada", suppressed: str | None = None) -> Activation:
    """Return an activation."""
    channel = "popup" if campaign == "pop" else "email"
    return Activation(name, "demo", user, campaign, 1, channel, NOW, "Order", "m1", suppressed=suppressed)


def states(lab: Lab) -> dict[str, State]:
    """Return the states in the ledger, by activation."""
    return {name: state for name, (state, _) in lab.world.ledger.rows.items()}


def batch(*bodies: Activation | str) -> dict[str, Any]:
    """Return a batch as SQS delivers it, with message ids from s0."""
    texts = [body if isinstance(body, str) else msgspec.json.encode(body).decode() for body in bodies]
    return {
        "Records": [
            {"messageId": f"s{n}", "receiptHandle": "r", "body": text, "eventSource": "aws:sqs"}
            for n, text in enumerate(texts)
        ]
    }


def failed(response: dict[str, Any]) -> list[str]:
    """Return the ids of the messages that go back to the queue."""
    return [item["itemIdentifier"] for item in response["batchItemFailures"]]


def engage(*activations: Activation, deadline: int = NOW + 1_500) -> dict[str, Any]:
    """Return a synchronous request."""
    request: dict[str, Any] = msgspec.to_builtins(Engage(list(activations), deadline))
    return request


def test_a_synchronous_call_returns_contents() -> None:
    """Each popup's content is returned under its activation's id; suppressed ones are only recorded."""
    lab = Lab()
    response = handle(lab, engage(activation("a1", "pop"), activation("a2", "pop", suppressed="cap")))
    assert list(response["contents"]) == ["a1"]
    assert response["contents"]["a1"]["title"] == "Hi"
    assert states(lab) == {"a1": State.SENT, "a2": State.SUPPRESSED}


def test_the_deadline_bounds_the_database() -> None:
    """The database gets the time until the deadline, in seconds."""
    lab = Lab()
    handle(lab, engage(activation("a1", "pop")))
    assert lab.deadlines == [1.5]


def test_work_past_its_deadline_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """The caller has stopped waiting, so nothing is started; the log has the code."""
    lab = Lab()
    with pytest.raises(Unavailable) as refused:
        handle(lab, engage(activation("a1", "pop"), deadline=NOW))
    assert refused.value.code == "deadline_passed"
    assert [vars(record)["code"] for record in caplog.records] == ["deadline_passed"]
    assert not states(lab)


@pytest.mark.parametrize(
    "event", [{}, {"activations": "x", "deadline": 1}, {"activations": [], "deadline": 2_000_000, "v": 2}]
)
def test_an_invalid_request_is_refused(event: dict[str, Any]) -> None:
    """A wrong payload or another contract version is the caller's error."""
    with pytest.raises(InvalidRequest):
        handle(Lab(), event)


def test_a_batch_is_delivered() -> None:
    """All messages are delivered, so none goes back to the queue."""
    lab = Lab()
    assert failed(handle(lab, batch(activation("a1"), activation("a2", "pop")))) == []
    assert states(lab) == {"a1": State.SENT, "a2": State.SENT}


def test_poison_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Bad JSON, wrong types, another version, a bug and an outage each return one message to the queue."""
    lab = Lab()
    lab.world.failing = {"eve": Unavailable("away"), "bug": KeyError("ada@example.com")}
    other = msgspec.structs.replace(activation("a5"), v=9)
    response = handle(
        lab,
        batch(
            "{not json ada@example.com",
            activation("a1"),
            '{"id": "ada@example.com"}',
            other,
            activation("a3", user="eve"),
            activation("a4", user="bug"),
            "\ud800",
            "[" * 100_000,
            activation("a2"),
        ),
    )
    assert failed(response) == ["s0", "s2", "s3", "s4", "s5", "s6", "s7"]
    assert states(lab) == {"a1": State.SENT, "a2": State.SENT}
    assert len(caplog.records) == len(failed(response))
    assert "ada@example.com" not in str([vars(record) for record in caplog.records])


def test_failures_are_logged_with_code_and_message_id(caplog: pytest.LogCaptureFixture) -> None:
    """An operator can see why a message went back, without customer data."""
    lab = Lab()
    lab.world.failing = {"eve": Unavailable("away", code="database_unavailable")}
    handle(
        lab,
        batch(activation("a1", user="eve")),
    )
    logged = [(vars(record)["code"], vars(record)["sqs_message_id"]) for record in caplog.records]
    assert logged == [("database_unavailable", "s0")]


def test_a_batch_that_fails_completely_is_still_a_partial_response() -> None:
    """Every message is listed; the function itself does not fail."""
    assert failed(handle(Lab(), batch("x", "y"))) == ["s0", "s1"]


def test_suppressed_activations_of_a_batch_are_one_write() -> None:
    """Many suppressions cost one round trip, beside the deliveries."""
    lab = Lab()
    many = [activation(f"a{n}", suppressed="holdout") for n in range(5)]
    assert failed(handle(lab, batch(*many, activation("b1")))) == []
    assert lab.world.ledger.bulks == [5]
    assert states(lab)["b1"] is State.SENT


def test_too_little_time_returns_the_rest_to_the_queue() -> None:
    """Near the function's timeout nothing more is started, except for the first message."""
    lab = Lab()
    response = handle(lab, batch(activation("a1"), activation("a2"), activation("a3")), Context(remaining_ms=2_000))
    assert failed(response) == ["s1", "s2"]
    assert list(states(lab)) == ["a1"]


def test_a_request_is_dispatched_by_its_type() -> None:
    """Forget, sweep and an event of SES each have their own response."""
    lab = Lab()
    assert handle(lab, msgspec.to_builtins(ForgetUser("demo", "ada"))) == {"demo:ada": 1}
    swept = handle(lab, msgspec.to_builtins(Sweep()))
    assert swept.pop("left") is False
    assert swept == {"interrupted": 0, "converted": 2, "outcomes": {}, "failed": 0, "held": 0, "unknown_old": 3}
    event = {"source": "aws.ses", "detail-type": "Email Sent", "detail": {}}
    assert handle(lab, event) == {"event": "Send", "known": True, "opted_out": None}


def test_conversions_come_with_activations() -> None:
    """All conversions of a request are recorded in one call, also without activations."""
    lab = Lab()
    given = [Conversion("a1", 5), Conversion("a2", 6)]
    handle(lab, msgspec.to_builtins(Engage([], NOW + 1_000, given)))
    assert lab.converted == given


def test_records_of_forgotten_users_have_a_pseudonym() -> None:
    """An activation that was queued when its user was forgotten is recorded under a pseudonym."""
    lab = Lab()
    lab.world.forgotten = {"ada"}
    handle(lab, engage(activation("a1", suppressed="cancelled"), activation("a2", user="bob", suppressed="holdout")))
    assert lab.world.ledger.rows == {"a1": (State.SUPPRESSED, "cancelled"), "a2": (State.HELD_OUT, "holdout")}
    assert lab.world.ledger.users == {"a1": "forgotten:x", "a2": "bob"}


def test_a_sweep_delivers_what_is_due() -> None:
    """Held activations pass all gates again, and the results are counted."""
    lab = Lab()
    for name in ("a1", "a2", "a3"):
        lab.world.hold(activation(name), until=NOW)
    lab.world.hold(activation("b1", "gone"), until=NOW)
    swept = handle(lab, {"type": "sweep"})
    assert swept["outcomes"] == {"sent": 3, "failed_final": 1}
    assert sorted(name for name, _ in lab.world.sent) == ["a1", "a2", "a3"]


def test_a_sweep_skips_a_paused_campaign() -> None:
    """After the first paused activation, a sweep skips the campaign; another campaign is delivered."""
    lab = Lab()
    lab.world.control = Control(frozenset({"campaign:mail"}))
    for number in range(100):
        lab.world.hold(activation(f"a{number}"), until=NOW)
    lab.world.hold(activation("b1", "other"), until=NOW)
    swept = handle(lab, {"type": "sweep"})
    assert swept["outcomes"]["sent"] == 1
    assert swept["outcomes"]["held"] <= 16
    assert swept["held"] == 100


def test_a_failing_row_moves_behind_the_others() -> None:
    """It stops no other row, is logged without personal data, and is given up after a day of failures."""
    lab = Lab()
    lab.world.failing = {"bug": KeyError("ada@example.com"), "eve": Unavailable("away", code="ruleset_missing")}
    lab.world.hold(activation("a1", user="bug"), until=NOW, expected_at=NOW - 86_400_001)
    lab.world.hold(activation("a2", user="eve"), until=NOW)
    for name, failing in (("a3", NOW - 86_400_001), ("a4", NOW - 86_400_000)):
        held = lab.world.hold(activation(name, user="bug"), until=NOW)
        lab.world.waiting[-1] = lab.world.ledger.held[name] = held._replace(failing_since=failing)
    lab.world.hold(activation("b1"), until=NOW)
    swept = handle(lab, {"type": "sweep"})
    assert (swept["outcomes"], swept["failed"]) == ({"sent": 1}, 4)
    assert lab.world.ledger.rows["a1"] == (State.HELD, "KeyError")
    assert lab.world.ledger.rows["a2"] == (State.HELD, "ruleset_missing")
    assert lab.world.ledger.held["a1"][1:4] == (NOW + 60_000, NOW - 86_400_001, NOW)
    assert lab.world.ledger.rows["a3"] == (State.FAILED_FINAL, "KeyError")
    assert lab.world.ledger.held["a4"][1:4] == (NOW + 60_000, NOW, NOW - 86_400_000)
    assert "ada@example.com" not in str(lab.warnings)


def test_a_sweep_ends_in_time() -> None:
    """Near the function's timeout nothing is started, and the sweep invokes the next one, at most twice."""
    lab = Lab()
    lab.world.hold(activation("a1"), until=NOW)
    for hop in range(3):
        late = Context(remaining_ms=2_000)
        assert handle(lab, {"type": "sweep", "hop": hop}, late)["outcomes"] == {}
        following = [(late.invoked_function_arn, {"type": "sweep", "hop": hop + 1, "v": VERSION})] if hop < 2 else []
        assert lab.invoked[hop:] == following
    assert states(lab) == {"a1": State.HELD}
    assert handle(lab, {"type": "sweep"})["outcomes"] == {"sent": 1}
    assert len(lab.invoked) == 2
