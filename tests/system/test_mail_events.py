"""The outcome of e-mails, reported by the local SES like the real one: to the ledger and to the opt-outs."""

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import pytest

from opportune.local import aws
from shared.contracts import Activation
from tests.support.whole_system import System

TIMEOUT_S = 20
T = TypeVar("T")


def mail(system: System, address: str) -> Activation:
    """Queue an e-mail to a new customer with *address*."""
    user = f"{address.partition('@')[0]}-{uuid.uuid4().hex[:8]}"
    attributes = {"first_name": "Ada", "email": address}
    row = {"_id": f"demo:{user}", "site": "demo", "user": user, "attributes": attributes}
    system.database.customers.insert_one(row)
    control = system.database.control.find_one({"_id": "demo"}) or {}
    now = system.stack.clock()
    sent = Activation(
        uuid.uuid4().hex, "demo", user, "cart-reminder", control["ruleset"], "email", now, "cart_filled", "m1", due=now
    )
    sqs = aws.client("sqs", system.stack.aws_url)
    sqs.send_message(QueueUrl=system.stack.queue_url, MessageBody=msgspec.json.encode(sent).decode())
    return sent


def eventually(probe: Callable[[], T | None]) -> T | None:
    """Return the first true result of *probe*, or its last one after some seconds."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (found := probe()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def row_with(system: System, sent: Activation, field: str) -> dict[str, Any]:
    """Return the ledger's row of *sent* as soon as it has *field*."""
    row = {"_id": sent.id, field: {"$exists": True}}
    return eventually(lambda: system.database.activations.find_one(row)) or {}


@pytest.mark.parametrize(
    ("address", "field", "opted_out"),
    [
        ("ada@casino.example", "delivered", None),
        ("bounce@casino.example", "bounced", "bounce"),
        ("complaint+ada@casino.example", "complained", "complaint"),
    ],
)
def test_the_outcome_of_a_mail_is_recorded(system: System, address: str, field: str, opted_out: str | None) -> None:
    """The address decides the outcome. A bounce or complaint stops further e-mails to the customer."""
    sent = mail(system, address)
    row = row_with(system, sent, field)
    assert row["state"] == "sent"
    assert abs(row[field].timestamp() * 1000 - system.stack.clock()) < 60_000
    if opted_out is None:
        assert system.database.optouts.find_one({"_id": f"demo:{sent.user}"}) is None
    else:
        opt_out = {"_id": f"demo:{sent.user}", "channels": {"$exists": True}}
        row = eventually(lambda: system.database.optouts.find_one(opt_out)) or {}
        assert {channel: each["reason"] for channel, each in row["channels"].items()} == {"email": opted_out}


def test_an_unknown_delivery_is_resolved(system: System) -> None:
    """SES accepts the e-mail but the call fails. It is sent once, and SES's own report resolves the state."""
    sent = mail(system, "unknown@casino.example")
    row = row_with(system, sent, "delivered")
    assert (row["state"], row.get("reason"), row["attempts"]) == ("sent", None, 1)
    accepted = [each for each in system.stack.accepted("email") if each.activation == sent.id]
    assert [each.id for each in accepted] == [row["provider_id"]]
