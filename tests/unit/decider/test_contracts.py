"""Payloads carry the version of the contract, and their type decides how they are read."""

from typing import Any, get_args

import msgspec
import pytest

from decider.handler import read
from shared import contracts
from shared.contracts import VERSION, Activation, Decide, DeciderRequest, Event
from shared.errors import InvalidRequest
from shared.identities import Identification, PopupEvent

NOW = 1_790_000_000_000
ACTIVATION = Activation("id", "demo", "anna", "cart", 1, "email", NOW, "add", "m")
ITEMS: list[contracts.Item] = [
    Event("anon:v", "add", "m1", NOW, NOW),
    Identification("anna", NOW, {"tier": "vip"}, "anon:v"),
    Event("anna", "pay", "m2", NOW, NOW),
    PopupEvent("anna", "a" * 32, "seen", NOW),
]


@pytest.mark.parametrize("payload", [Decide("demo", [], NOW), ACTIVATION], ids=lambda payload: type(payload).__name__)
def test_a_payload_says_its_version(payload: Any) -> None:
    """A receiver of another version must see it, so it is sent although it is the default."""
    assert msgspec.json.decode(msgspec.json.encode(payload))["v"] == VERSION


def test_items_keep_their_order_and_kind() -> None:
    """The Decider reads the items as the Gateway sent them."""
    sent = msgspec.json.decode(msgspec.json.encode(Decide("demo", ITEMS, NOW)))
    request = read(sent)
    assert isinstance(request, Decide)
    assert request.items == ITEMS
    assert [event.message_id for event in request.events] == ["m1", "m2"]


def test_every_request_has_a_type_of_its_own() -> None:
    """`read` looks them up by it."""
    tags = [each.__struct_config__.tag for each in get_args(DeciderRequest)]
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("type_", [None, "", "look", 7, ["decide"], {}])
def test_another_type_is_refused(type_: Any) -> None:
    """An unknown or malformed type is an invalid request."""
    with pytest.raises(InvalidRequest, match="not a request to the Decider"):
        read({"type": type_, "site": "demo", "items": [], "deadline": NOW, "v": VERSION})


def test_another_version_is_refused() -> None:
    """Two halves of a rolling deploy cannot misread each other."""
    with pytest.raises(InvalidRequest) as caught:
        read({"type": "wake", "v": VERSION - 1})
    assert caught.value.code == "unknown_version"
