"""Bodies as real clients send them.

The classes: an empty PHP array where an object is meant; a value in one item of a batch that JSON does not have, which
must not cost the other items; a forwarder that posts every type of call to one address; a beacon, whose request always
includes credentials.
"""

import json
from typing import Any

import pytest

from shared.contracts import Event, Identify, Item
from shared.identities import Identification
from tests.support.gateway_site import Site, win


def items(site: Site) -> list[Item]:
    """Return what the Decider got."""
    return [item for request in site.decider.decided for item in request.items]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/track", win(properties=[])),
        ("/v1/track", win(context=[])),
        ("/v1/page", {"userId": "anna", "properties": []}),
        ("/v1/identify", {"userId": "anna", "traits": []}),
        ("/v1/identify", {"userId": "anna", "traits": [], "context": {"traits": []}}),
        ("/v1/group", {"userId": "anna", "groupId": "g", "traits": []}),
    ],
)
def test_an_empty_php_array_is_an_empty_object(path: str, body: dict[str, Any]) -> None:
    """In a call and in a batch."""
    site = Site()
    assert site.post(path, body)[0] == 200
    kind = path.rpartition("/")[2]
    status, told = site.post("/v1/batch", {"batch": [{**body, "type": kind}], "context": []})
    assert (status, "rejected" in told) == (200, False)


@pytest.mark.parametrize("value", [[1], [[]], [{}], "", 0, False])
def test_any_other_list_is_still_an_error(value: Any) -> None:
    """Only an empty list can be an empty object."""
    assert Site().post("/v1/track", win(properties=value))[1]["code"] == "invalid_properties"


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-Infinity", "1e999", r'"\ud800"', r'{"a": ["\udc00x"]}', "-1e400"])
@pytest.mark.parametrize("place", [0, 7, 99])
def test_one_bad_value_costs_one_item(bad: str, place: int) -> None:
    """The other 99 items count. The bad one is named by index and message id."""
    texts = [json.dumps(win(type="track", messageId=str(n))) for n in range(100)]
    texts[place] = texts[place].replace("5}", f"{bad}}}")
    site = Site()
    status, told = site.post("/v1/batch", f'{{"batch": [{", ".join(texts)}]}}'.encode())
    assert status == 200
    assert [(each["index"], each["messageId"], each["code"]) for each in told["rejected"]] == [
        (place, str(place), "malformed_json")
    ]
    assert len(items(site)) == 99


@pytest.mark.parametrize(
    "body",
    [
        '{"batch": [{"a": NaN}',
        '{"batch": [], "sentAt": NaN}',
        '{"batch": [{"type": "track", "a": NaN, "a": 1}]}',
        '{"batch": NaN}',
        '{"userId": "a", "event": "x", "properties": {"n": NaN}}',
        '{"batch": ' + "[" * 50_000,
        '{"batch": [{"n": NaN}, ' + "[" * 900 + "]" * 900 + "}",
    ],
)
def test_a_batch_that_is_broken_itself_is_refused(body: str) -> None:
    """There is nothing to save in it."""
    assert Site().post("/v1/batch", body.encode())[0] == 400


@pytest.mark.parametrize("path", ["/v1/track", "/v1/t", "/v1/page"])
def test_one_address_takes_every_type(path: str) -> None:
    """A webhook destination posts all calls of a source to one address."""
    site = Site()
    identify = {"type": "identify", "userId": "anna", "anonymousId": "x"}
    page = {"type": "page", "userId": "anna", "name": "Pricing"}
    for body in (win(type="track"), page, identify, {"type": "group", "userId": "anna", "groupId": "g"}):
        assert site.post(path, body)[0] == 200
    got = items(site)
    assert [each.event for each in got if isinstance(each, Event)] == ["game_result", "Page Viewed"]
    assert [each.visitor for each in got if isinstance(each, Identification)] == ["anon:x"]
    assert not any(isinstance(each, Identify) for each in got)


@pytest.mark.parametrize("kind", ["nonsense", 7, None, [], ""])
def test_an_unknown_type_leaves_the_address_to_decide(kind: Any) -> None:
    """Some libraries have a field of this name for something else."""
    site = Site()
    assert site.post("/v1/track", win(type=kind))[0] == 200
    assert len(items(site)) == 1


@pytest.mark.parametrize("wrap", [lambda call: call, lambda call: {"batch": call}])
def test_one_object_is_a_batch_of_one(wrap: Any) -> None:
    """RudderStack's webhook posts one event; its address may be that of batches."""
    site = Site()
    assert site.post("/v1/batch", wrap(win(type="track")))[0] == 200
    status, told = site.post("/v1/batch", wrap({"type": "track", "event": "x"}))
    assert (status, told["rejected"][0]["code"]) == (200, "no_user_anon_id")
    assert len(items(site)) == 1


@pytest.mark.parametrize(
    "body", [{}, {"batch": 7}, {"batch": "x"}, {"userId": "a"}, {"type": "shout"}, {"type": ["track"]}]
)
def test_anything_else_is_no_batch(body: dict[str, Any]) -> None:
    """The error stays."""
    assert Site().post("/v1/batch", body)[1]["code"] == "invalid_batch"


def test_a_beacon_with_json_is_taken() -> None:
    """The preflight of a request with credentials needs both headers, and no star."""
    site = Site()
    headers = {
        "origin": "https://shop.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    preflight = site.ask("OPTIONS", "/v1/batch", b"", headers)
    sent = site.ask(
        "POST", "/v1/batch", json.dumps({"batch": [win(type="track")], "writeKey": "shop"}).encode(), headers
    )
    assert (preflight["statusCode"], sent["statusCode"]) == (204, 200)
    for response in (preflight, sent):
        assert response["headers"]["Access-Control-Allow-Credentials"] == "true"
        assert response["headers"]["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "*" not in response["headers"].values()
        assert "set-cookie" not in {name.lower() for name in response["headers"]}
    assert "content-type" in preflight["headers"]["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in site.ask("POST", "/v1/track", b"{}")["headers"]
