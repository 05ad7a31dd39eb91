"""The use case: what is recorded, what is delivered, and what is never delivered again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from engager.email import Mail
from engager.engage import Ports, engage
from engager.outcome import Content, Outcome, State
from engager.render import Templates
from engager.rulesets import Rulesets
from shared.contracts import Activation
from shared.errors import Unavailable
from shared.ruleset import Campaign, Ruleset, Sender, Trigger


@dataclass
class FakeLedger:
    """A ledger in a dict: state and reason, or content, by activation id."""

    rows: dict[str, tuple[State, str | None]] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)

    def claim(self, activation: Activation, state: State = State.SENDING, reason: str | None = None) -> bool:
        """Take a new, or refused, activation."""
        if activation.id in self.rows and self.rows[activation.id][0] is not State.FAILED_RETRYABLE:
            return False
        self.rows[activation.id] = (state, reason)
        return True

    def settle(self, activation_id: str, outcome: Outcome) -> None:
        """Write the outcome down."""
        assert outcome.state is not None
        self.rows[activation_id] = (outcome.state, outcome.reason)

    def keep(self, activation: Activation, content: Content) -> Content | None:
        """Store the first content."""
        self.rows.setdefault(activation.id, (State.SENT, None))
        return self.contents.setdefault(activation.id, content)

    def suppress(self, activations: Sequence[Activation]) -> None:
        """Record suppressions."""
        for activation in activations:
            self.rows.setdefault(activation.id, (State.SUPPRESSED, activation.suppressed))


@dataclass
class FakeCustomers:
    """Known customers by user id."""

    known: dict[str, dict[str, Any]]

    def attributes(self, site: str, user: str) -> dict[str, Any] | None:  # noqa: ARG002 - one site
        """Return what is known."""
        return self.known.get(user)


@dataclass
class FakeMailer:
    """Answers with one outcome after the other, the last one for good."""

    outcomes: list[Outcome]
    sent: list[Mail] = field(default_factory=list)

    def __call__(self, mail: Mail) -> Outcome:
        """Take the mail."""
        self.sent.append(mail)
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]


def campaign(name: str, channel: str, content: Content) -> Campaign:
    """Return a campaign."""
    trigger = Trigger(key="k", program={}, matchers=[], horizon=0)
    return Campaign(id=name, version="1", name=name, trigger=trigger, channel=channel, content=content)


RULESET = Ruleset(
    "demo",
    1,
    [],
    [
        campaign("pop", "popup", {"title": "Hi {{ customer.name }}, {{ event.item }}"}),
        campaign("mail", "email", {"subject": "Hi {{ customer.name }}", "text": "{{ event.item }}"}),
        campaign("broken", "email", {"subject": "x", "text": "{{ 1 | divided_by: 0 }}"}),
        campaign("unsafe", "popup", {"actions": [{"label": "x", "url": "{{ event.link }}"}]}),
        campaign("push", "push", {"title": "x"}),
        campaign("self", "popup", {"title": "{{ campaign.name }} of {{ campaign.id }} on {{ site.id }}"}),
    ],
    Sender("hello@shop.example"),
)


def ports(*outcomes: Outcome) -> Ports:
    """Return ports with Ada as the only customer with an address, and Bob without one."""
    return Ports(
        rulesets=Rulesets(lambda _site, _version: RULESET),
        customers=FakeCustomers({"ada": {"name": "Ada", "email": "ada@example.com"}, "bob": {"name": "Bob"}}),
        ledger=FakeLedger(),
        templates=Templates(),
        send_email=FakeMailer(list(outcomes) or [Outcome(State.SENT, provider_id="p1")]),
    )


def activation(name: str = "mail", user: str = "ada", **changes: Any) -> Activation:
    """Return an activation of the campaign *name*."""
    channel = {"pop": "popup", "unsafe": "popup", "self": "popup", "push": "push"}.get(name, "email")
    values: dict[str, Any] = {"attributes": {"item": "Book"}, **changes}
    return Activation("a1", "demo", user, name, 1, channel, 1_000, "Order", "m1", **values)


def rows(given: Ports) -> dict[str, tuple[State, str | None]]:
    """Return the rows of the fake ledger."""
    assert isinstance(given.ledger, FakeLedger)
    return given.ledger.rows


def sent(given: Ports) -> list[Mail]:
    """Return what the fake mailer took."""
    assert isinstance(given.send_email, FakeMailer)
    return given.send_email.sent


def test_a_popup_is_rendered_and_kept() -> None:
    """The content names customer and item, and stands in the ledger as sent."""
    given = ports()
    outcome = engage(activation("pop"), given)
    assert outcome.state is State.SENT
    assert outcome.content is not None
    assert outcome.content["title"] == "Hi Ada, Book"
    assert rows(given) == {"a1": (State.SENT, None)}


def test_a_repeated_popup_is_the_stored_one() -> None:
    """A retried event gets the popup of the first time, though the customer has changed since."""
    given = ports()
    first = engage(activation("pop"), given)
    again = engage(activation("pop", attributes={"item": "Lamp"}), given)
    assert again == Outcome(None, content=first.content)


def test_content_may_name_campaign_and_site() -> None:
    """The variables `campaign` and `site` are there beside customer and event."""
    outcome = engage(activation("self"), ports())
    assert outcome.content is not None
    assert outcome.content["title"] == "self of self on demo"


def test_a_popup_for_a_stranger_has_an_empty_customer() -> None:
    """A visitor nobody knows sees the popup without his name."""
    outcome = engage(activation("pop", user="anon:1"), ports())
    assert outcome.content is not None
    assert outcome.content["title"] == "Hi , Book"


def test_an_email_is_sent_once_and_settled() -> None:
    """The mail goes to the customer's address with the activation's id, and the ledger says sent."""
    given = ports()
    assert engage(activation(), given) == Outcome(State.SENT, provider_id="p1")
    assert engage(activation(), given) == Outcome(None)
    assert [(mail.activation, mail.to) for mail in sent(given)] == [("a1", "ada@example.com")]
    assert rows(given) == {"a1": (State.SENT, None)}


@pytest.mark.parametrize("state", [State.SENDING, State.SENT, State.UNKNOWN, State.FAILED_FINAL, State.SUPPRESSED])
def test_a_row_in_any_other_state_stops_the_email(state: State) -> None:
    """Whoever wrote the row has, or had, the activation: nothing is sent, nothing is changed."""
    given = ports()
    rows(given)["a1"] = (state, None)
    assert engage(activation(), given).state is None
    assert not sent(given)
    assert rows(given) == {"a1": (state, None)}


def test_a_throttled_email_is_tried_again() -> None:
    """A throttle is an error for the queue; the next try sends the mail and settles it."""
    given = ports(Outcome(State.FAILED_RETRYABLE, "ThrottlingException"), Outcome(State.SENT))
    with pytest.raises(Unavailable):
        engage(activation(), given)
    assert rows(given) == {"a1": (State.FAILED_RETRYABLE, "ThrottlingException")}
    assert engage(activation(), given).state is State.SENT
    assert len(sent(given)) == 2


def test_an_unknown_outcome_is_no_error_and_never_sent_again() -> None:
    """Where nobody knows what became of the mail, the queue is done with it."""
    given = ports(Outcome(State.UNKNOWN, "ReadTimeoutError"))
    assert engage(activation(), given).state is State.UNKNOWN
    assert engage(activation(), given).state is None
    assert len(sent(given)) == 1


@pytest.mark.parametrize(
    ("name", "user", "changes", "reason"),
    [
        ("mail", "bob", {}, "no_address"),
        ("mail", "eve", {}, "no_customer"),
        ("broken", "ada", {}, "template_error"),
        ("gone", "ada", {}, "no_campaign"),
        ("push", "ada", {}, "no_channel"),
        ("unsafe", "ada", {"attributes": {"link": "javascript:x"}}, "unsafe_url"),
    ],
)
def test_what_can_never_be_delivered_is_final(name: str, user: str, changes: dict[str, Any], reason: str) -> None:
    """Each such activation ends in the ledger with its reason, and nothing leaves the house."""
    given = ports()
    assert engage(activation(name, user, **changes), given) == Outcome(State.FAILED_FINAL, reason)
    assert rows(given) == {"a1": (State.FAILED_FINAL, reason)}
    assert not sent(given)


@pytest.mark.parametrize("name", ["pop", "mail", "push"])
def test_a_suppressed_activation_is_only_recorded(name: str) -> None:
    """Of any channel: one row with the gate's name, nothing rendered, nothing delivered."""
    given = ports()
    assert engage(activation(name, suppressed="cap"), given) == Outcome(State.SUPPRESSED, "cap")
    assert rows(given) == {"a1": (State.SUPPRESSED, "cap")}
    assert not sent(given)


def test_a_ruleset_version_is_read_once() -> None:
    """Rulesets are immutable, so the second activation costs no look-up; a failed look-up is not kept."""
    loads: list[int] = []

    def load(_site: str, version: int) -> Ruleset:
        loads.append(version)
        if len(loads) == 1:
            raise Unavailable("not yet")
        return RULESET

    rulesets = Rulesets(load)
    with pytest.raises(Unavailable):
        rulesets.brief(activation())
    assert rulesets.brief(activation()).campaign.id == "mail"
    assert rulesets.brief(activation("pop")).campaign.id == "pop"
    assert loads == [1, 1]
