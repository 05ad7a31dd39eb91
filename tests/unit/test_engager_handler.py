"""The handler: two shapes of payload, partial batch answers, deadlines, and logs without people in them."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from engager.email import Mail
from engager.engage import Ports
from engager.handler import Deps, create_handler
from engager.outcome import Content, Outcome, State
from engager.render import Templates
from engager.rulesets import Rulesets
from shared.contracts import Activation, Engage
from shared.errors import InvalidRequest, Unavailable
from shared.observability import observe
from shared.ruleset import Campaign, Ruleset, Sender, Trigger

TRIGGER = Trigger(key="k", program={}, matchers=[], horizon=0)
RULESET = Ruleset(
    "demo",
    1,
    [],
    [
        Campaign("pop", "1", "Pop", TRIGGER, "popup", {"title": "Hi"}),
        Campaign("mail", "1", "Mail", TRIGGER, "email", {"subject": "Hi", "text": "x"}),
    ],
    Sender("hello@shop.example"),
)


@dataclass
class Context:
    """What Lambda passes besides the payload."""

    remaining_ms: int = 30_000
    function_name: str = "engager"
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn"
    aws_request_id: str = "r1"

    def get_remaining_time_in_millis(self) -> int:
        """Return the time left."""
        return self.remaining_ms


@dataclass
class World:
    """All ports in one: counts writes, and fails for the users named in ``failing``."""

    failing: dict[str, Exception] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    bulks: list[int] = field(default_factory=list)
    within: list[float] = field(default_factory=list)
    stale: Exception | None = None

    def claim(self, activation: Activation, state: State = State.SENDING, reason: str | None = None) -> bool:  # noqa: ARG002
        """Take an activation."""
        self.states[activation.id] = state
        return True

    def settle(self, activation_id: str, outcome: Outcome) -> None:
        """Settle it."""
        assert outcome.state is not None
        self.states[activation_id] = outcome.state

    def keep(self, activation: Activation, content: Content) -> Content | None:
        """Keep a popup."""
        self.states[activation.id] = State.SENT
        return content

    def suppress(self, activations: Sequence[Activation]) -> None:
        """Record suppressions in one write."""
        self.bulks.append(len(activations))
        self.states.update({activation.id: State.SUPPRESSED for activation in activations})

    def attributes(self, site: str, user: str) -> dict[str, Any] | None:  # noqa: ARG002 - one site
        """Return a customer, or fail."""
        if user in self.failing:
            raise self.failing[user]
        return {"email": f"{user}@example.com"}

    def send(self, mail: Mail) -> Outcome:  # noqa: ARG002 - always sent
        """Send a mail."""
        return Outcome(State.SENT)

    def settle_stale(self) -> int:
        """Find nothing stale, or fail."""
        if self.stale:
            raise self.stale
        return 0

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Note the limit."""
        self.within.append(seconds)
        yield


def handle(world: World, event: dict[str, Any], context: Context | None = None) -> Any:
    """Call the handler as Lambda does: with JSON types only, both ways."""
    ports = Ports(Rulesets(lambda _s, _v: RULESET), world, world, Templates(), world.send)
    deps = Deps(ports, world.settle_stale, world.limit, lambda: 1_000_000, observe("engager"))
    answer = create_handler(deps)(json.loads(json.dumps(event)), context or Context())
    return json.loads(json.dumps(answer))


def activation(name: str, campaign: str = "mail", user: str = "ada", suppressed: str | None = None) -> Activation:
    """Return an activation."""
    channel = "popup" if campaign == "pop" else "email"
    return Activation(name, "demo", user, campaign, 1, channel, 1_000, "Order", "m1", suppressed=suppressed)


def batch(*bodies: Activation | str) -> dict[str, Any]:
    """Return a batch as SQS delivers it; message ids count from s0."""
    texts = [body if isinstance(body, str) else msgspec.json.encode(body).decode() for body in bodies]
    return {
        "Records": [
            {"messageId": f"s{n}", "receiptHandle": "r", "body": text, "eventSource": "aws:sqs"}
            for n, text in enumerate(texts)
        ]
    }


def failed(answer: dict[str, Any]) -> list[str]:
    """Return the ids that the answer hands back to the queue."""
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def engage(*activations: Activation, deadline: int = 1_001_500) -> dict[str, Any]:
    """Return a synchronous request."""
    request: dict[str, Any] = msgspec.to_builtins(Engage(list(activations), deadline))
    return request


def test_a_synchronous_call_answers_with_contents() -> None:
    """Each popup's content comes back under its activation's id; suppressed ones are only recorded."""
    world = World()
    answer = handle(world, engage(activation("a1", "pop"), activation("a2", "pop", suppressed="cap")))
    assert list(answer["contents"]) == ["a1"]
    assert answer["contents"]["a1"]["title"] == "Hi"
    assert world.states == {"a1": State.SENT, "a2": State.SUPPRESSED}


def test_the_deadline_bounds_the_database() -> None:
    """What is left until the deadline is the time the database gets, in seconds."""
    world = World()
    handle(world, engage(activation("a1", "pop")))
    assert world.within == [1.5]


def test_work_past_its_deadline_is_refused() -> None:
    """Nobody waits for the answer any more, so nothing is begun."""
    world = World()
    with pytest.raises(Unavailable) as refused:
        handle(world, engage(activation("a1", "pop"), deadline=1_000_000))
    assert refused.value.code == "deadline_passed"
    assert not world.states


@pytest.mark.parametrize(
    "event", [{}, {"activations": "x", "deadline": 1}, {"activations": [], "deadline": 2_000_000, "v": 2}]
)
def test_what_is_no_request_is_refused(event: dict[str, Any]) -> None:
    """Another shape, or another version of the contract, is the caller's error."""
    with pytest.raises(InvalidRequest):
        handle(World(), event)


def test_a_batch_is_delivered() -> None:
    """All records done: nothing goes back to the queue."""
    world = World()
    assert failed(handle(world, batch(activation("a1"), activation("a2", "pop")))) == []
    assert world.states == {"a1": State.SENT, "a2": State.SENT}


def test_poison_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Bad JSON, wrong types, another version, a bug and an outage each hand back one record only."""
    world = World(failing={"eve": Unavailable("away"), "bug": KeyError("ada@example.com")})
    other = msgspec.structs.replace(activation("a5"), v=9)
    answer = handle(
        world,
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
    assert failed(answer) == ["s0", "s2", "s3", "s4", "s5", "s6", "s7"]
    assert world.states == {"a1": State.SENT, "a2": State.SENT}
    assert len(caplog.records) == len(failed(answer))
    assert "ada@example.com" not in str([vars(record) for record in caplog.records])


def test_failures_are_logged_with_code_and_message_id(caplog: pytest.LogCaptureFixture) -> None:
    """An operator finds why a message came back, without a customer's data."""
    handle(
        World(failing={"eve": Unavailable("away", code="database_unavailable")}),
        batch(activation("a1", user="eve")),
    )
    logged = [(vars(record)["code"], vars(record)["sqs_message_id"]) for record in caplog.records]
    assert logged == [("database_unavailable", "s0")]


def test_a_whole_batch_that_fails_is_still_a_partial_answer() -> None:
    """Every record goes back by name; the function itself does not fail."""
    assert failed(handle(World(), batch("x", "y"))) == ["s0", "s1"]


def test_suppressed_activations_of_a_batch_are_one_write() -> None:
    """Many suppressions cost one round trip, next to what has to be delivered."""
    world = World()
    many = [activation(f"a{n}", suppressed="holdout") for n in range(5)]
    assert failed(handle(world, batch(*many, activation("b1")))) == []
    assert world.bulks == [5]
    assert world.states["b1"] is State.SENT


def test_too_little_time_hands_the_rest_back() -> None:
    """Near the function's timeout nothing is begun any more; the first record always is."""
    world = World()
    answer = handle(world, batch(activation("a1"), activation("a2"), activation("a3")), Context(remaining_ms=2_000))
    assert failed(answer) == ["s1", "s2"]
    assert list(world.states) == ["a1"]


def test_a_failing_sweep_harms_no_delivery() -> None:
    """Naming stale deliveries is housekeeping; its failure is logged and the batch stands."""
    assert failed(handle(World(stale=Unavailable("away")), batch(activation("a1")))) == []
