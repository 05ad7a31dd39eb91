"""Libraries of other products send events without a change, to sites that turn their adapter on.

The class of fault: a body of another product's format is refused whole, loses events, counts for the wrong user or at
the wrong time, counts twice, or costs other events of its batch. The bodies here are as the libraries send them:
posthog-python 7, snowplow-tracker 1 and PutEvents of boto3.
"""

import base64
import gzip
import io
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.awsrequest import AWSResponse

from shared.contracts import Event
from shared.identities import Identification
from tests.support.gateway_site import NOW, Site

POSTHOG, SNOWPLOW = "/batch/", "/com.snowplowanalytics.snowplow/tp2"
PINPOINT = "/v1/apps/public/events"
STAMP = "2026-09-21T14:13:10+00:00"  # ten seconds before now
SENT = "2026-09-21T14:13:15+00:00"  # of a clock that is five seconds late
UNSTRUCT = json.dumps(
    {
        "schema": "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0",
        "data": {"schema": "iglu:com.example/game_result/jsonschema/1-0-0", "data": {"outcome": "win"}},
    }
)


def posthog(**fields: Any) -> dict[str, Any]:
    """Return an event of posthog-python."""
    own = {"outcome": "win", "$lib": "posthog-python", "$is_server": True}
    item = {"event": "game_result", "distinct_id": "anna", "timestamp": STAMP, "uuid": "u1", "properties": own}
    return {**item, **fields}


def payload(**fields: Any) -> dict[str, Any]:
    """Return a payload of snowplow-tracker."""
    px = base64.b64encode(UNSTRUCT.encode()).decode()
    dtm, stm = str(NOW - 10_000), str(NOW - 5000)
    item = {"e": "ue", "ue_px": px, "p": "pc", "uid": "anna", "eid": "e1", "dtm": dtm, "stm": stm, "aid": "public"}
    return {name: value for name, value in {**item, **fields}.items() if value is not ...}


def put(*events: dict[str, Any], **endpoint: Any) -> dict[str, Any]:
    """Return a body of PutEvents."""
    whole = {"Endpoint": endpoint or {"User": {"UserId": "anna"}}, "Events": {f"e{n}": e for n, e in enumerate(events)}}
    return {"BatchItem": {"d1": whole}}


def pinpoint(**fields: Any) -> dict[str, Any]:
    """Return an event of PutEvents."""
    own = {"EventType": "game_result", "Timestamp": STAMP, "Attributes": {"outcome": "win"}, "Metrics": {"n": 2.0}}
    return {**own, **fields}


@pytest.fixture
def site() -> Site:
    """Return a site with all adapters."""
    made = Site()
    made.decider.adapters = ["pinpoint", "posthog", "snowplow"]
    return made


def decided(site: Site) -> list[Any]:
    """Return what reached the Decider."""
    return [item for request in site.decider.decided for item in request.items]


def events(site: Site) -> list[tuple[str, str, dict[str, Any], int]]:
    """Return the events that reached the Decider: user, name, attributes, and ms before now."""
    return [(e.user, e.event, e.attributes, NOW - e.at) for e in decided(site) if isinstance(e, Event)]


WIN = ("anna", "game_result", {"outcome": "win"})
BODIES = [
    ("/capture/", {"api_key": "public", **posthog()}, 10_000),
    ("/capture", {"token": "public", **posthog(distinct_id=None, properties={"distinct_id": "anna", "outcome": "win"})},
     10_000),
    (POSTHOG, {"api_key": "public", "batch": [posthog()], "sent_at": SENT, "historical_migration": False}, 5000),
    (POSTHOG, {"api_key": "public", "batch": [posthog()], "sentAt": SENT}, 5000),
    (SNOWPLOW, {"schema": "iglu:x", "data": [payload()]}, 5000),
    (SNOWPLOW, {"data": [payload(ue_px=..., ue_pr=UNSTRUCT, stm=...)]}, 10_000),
    (SNOWPLOW, {"data": [payload(ttm=str(NOW - 7000))]}, 7000),
    (PINPOINT, put(pinpoint()), 10_000),
]  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("path", "body", "age"), BODIES)
def test_an_event_is_accepted(site: Site, path: str, body: dict[str, Any], age: int, packed: bool) -> None:
    """User, name, attributes and the corrected time are right. No popup is made that nothing could show."""
    raw = json.dumps(body).encode()
    status, answer = site.post(path, gzip.compress(raw) if packed else raw, key="")
    assert events(site) == [(*WIN, age)]
    assert {e.popup_block_reason for e in decided(site) if isinstance(e, Event)} == {"unanswered"}
    if path == PINPOINT:
        accepted = {"Message": "Accepted", "StatusCode": 202}
        result = {"d1": {"EndpointItemResponse": accepted, "EventsItemResponse": {"e0": accepted}}}
        assert (status, answer) == (202, {"Results": result})
    else:
        assert (status, answer) == (200, {"success": True} if path == SNOWPLOW else {"status": 1})


@pytest.mark.parametrize(("path", "body", "age"), BODIES[::3])
def test_adapters_are_off_by_default(path: str, body: dict[str, Any], age: int) -> None:
    """The error says how to turn one on. A wrong key is named first, so that sites cannot be told apart."""
    site = Site()
    status, answer = site.post(path, body, key="public")
    assert (status, answer["code"]) == (404, "adapter_off")
    assert "'adapters' in site.yaml" in answer["message"]
    assert site.post(path.replace("public", "x"), body, key="other")[0] == 401
    assert not decided(site)


def test_a_library_works_from_a_page(site: Site) -> None:
    """Its preflight is answered, and its origin is checked as elsewhere."""
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    assert "SP-Anonymous" in site.ask("OPTIONS", SNOWPLOW, headers=headers)["headers"]["Access-Control-Allow-Headers"]
    status, answer = site.post(SNOWPLOW, {"data": [payload(aid="shop")]}, key="", headers=headers)
    assert (status, answer["code"]) == (403, "origin_not_allowed")
    assert site.post(POSTHOG, {"api_key": "secret", "batch": []}, key="", headers=headers)[0] == 403
    assert site.post(POSTHOG, {"api_key": "public", "batch": [posthog()]}, key="", headers={"sec-gpc": "1"})[0] == 200


@pytest.mark.parametrize(
    ("path", "body", "login"),
    [
        (POSTHOG, [posthog(event="$identify", properties={"$anon_distinct_id": "v1", "$set": {"tier": "vip"}})], "v1"),
        (POSTHOG, [posthog(event="$create_alias", distinct_id="v1", properties={"distinct_id": "v1", "alias": "anna"})],
         "v1"),
        (POSTHOG, [posthog(event="$set", properties={}, **{"$set": {"tier": "vip"}})], ""),
        (SNOWPLOW, [payload(duid="v1"), payload(duid="v1", eid="e2")], "v1"),
        (SNOWPLOW, [payload(nuid="v1")], "v1"),
    ],
)  # fmt: skip
def test_logins_and_traits(site: Site, path: str, body: list[Any], login: str) -> None:
    """What joins two ids there joins visitor and user here, once in a request."""
    whole = {"data": body} if path == SNOWPLOW else {"api_key": "public", "batch": body}
    assert site.post(path, whole, key="secret")[0] == 200  # the user may not write traits with a public key
    (found,) = [item for item in decided(site) if isinstance(item, Identification)]
    assert (found.user, found.visitor) == ("anna", f"anon:{login}" if login else "")
    assert found.traits == ({"tier": "vip"} if "$set" in json.dumps(body) else {})


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (payload(e="pv", ue_px=..., url="https://x.example/a", page="Home"), ("anna", "Page Viewed", {"name": "Home"})),
        (payload(uid=..., duid="v1"), ("anon:v1", "game_result", {"outcome": "win"})),
    ],
)
def test_kinds_of_snowplow(site: Site, sent: dict[str, Any], expected: Any) -> None:
    """A page view is a call of its own, and a visitor stays one."""
    assert site.post(SNOWPLOW, {"data": [sent]}, key="")[0] == 200
    assert [event[:3] for event in events(site)] == [expected]


def test_visitors_of_posthog(site: Site) -> None:
    """An event without a person profile is a visitor's."""
    body = {"api_key": "public", "batch": [posthog(properties={"$process_person_profile": False, "outcome": "win"})]}
    assert site.post(POSTHOG, body, key="")[0] == 200
    assert events(site)[0][0] == "anon:anna"


def test_one_event_id_for_all_events_counts_each(site: Site) -> None:
    """Examples of PutEvents call every event the same. The time tells a retry from the next event."""
    for stamp in (STAMP, SENT, SENT):
        assert site.post(PINPOINT, put(pinpoint(Timestamp=stamp)), key="")[0] == 202
    ids = [event.message_id for event in decided(site) if isinstance(event, Event)]
    assert ids == [f"e0@{STAMP}", f"e0@{SENT}", f"e0@{SENT}"]


ODD: list[Any] = [
    None, 7, "x", [], [posthog()], {}, {"event": "x"}, {"event": ["x"]}, {"e": ["x"]}, {"e": "ue"}, {"EventType": {}},
    posthog(distinct_id="undefined"), posthog(event=None), posthog(event="x" * 300), posthog(uuid={"a": 1}),
    posthog(properties={"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}),
    posthog(properties={"n": 2**70}),
    posthog(properties={"t": "x" * 40_000}), posthog(properties={"t": "\0"}), posthog(distinct_id={"a": 1}),
    payload(uid="null"), payload(ue_px="%%%"), payload(ue_px="e30"), payload(ue_px=..., ue_pr="{cut"), payload(ue_px=7),
    payload(uid=["a"]), payload(eid=7.5), payload(e=None), payload(e={}), payload(ue_px=..., ue_pr='{"a":' * 5000),
    payload(ue_px=..., e="se", se_va="much"), payload(uid=...), payload(eid="x" * 101),
    pinpoint(EventType=None), pinpoint(EventType=""), pinpoint(EventType=7), pinpoint(Attributes={"t": "x" * 40_000}),
]  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: json.dumps(odd)[:50])
def test_an_odd_event_costs_only_itself(site: Site, odd: Any) -> None:
    """The others are accepted, and the response names it by its place."""
    bodies = [
        (POSTHOG, {"api_key": "public", "batch": [posthog(), odd, posthog(uuid="u3")]}),
        (SNOWPLOW, {"data": [payload(), odd, payload(eid="e3")]}),
        (PINPOINT, put(pinpoint(), odd, pinpoint())),
    ]
    for path, body in bodies:
        site.decider.decided.clear()
        status, answer = site.post(path, body, key="")
        assert status == (202 if path == PINPOINT else 200), answer
        wins = [event for event in events(site) if event[:3] == WIN]
        if path == PINPOINT:
            found = answer["Results"]["d1"]["EventsItemResponse"]
            refused = [place for place, one in enumerate(found.values()) if one["StatusCode"] == 400]
        else:
            refused = [each["index"] for each in answer.get("rejected", [])]
        assert refused in ([], [1])
        assert len(wins) >= 2
        assert refused or len(wins) == 3 or odd == pinpoint(EventType=7), (path, answer)


@pytest.mark.parametrize("path", [POSTHOG, SNOWPLOW, PINPOINT, "/capture/"])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"\x1f\x8bxx", b'{"a": 1, "a": 2}', b'{"batch": 7}', b'{"data": {}}', b"data=x",
        b'{"BatchItem": []}', b'{"batch": [[[[', b" " * 600_000, b'{"api_key": ["public"], "batch": []}',
        b'{"data": [{"aid": {}}]}', b'{"api_key": "\\ud800", "batch": []}',
    ],
    ids=lambda body: body[:20],
)  # fmt: skip
def test_a_hostile_body_is_refused_with_a_reason(site: Site, path: str, body: bytes) -> None:
    """The errors are those of the tracking API, with a code; nothing fails inside."""
    status, answer = site.post(path, body, key="")
    if status != 202:
        assert 400 <= status < 500
        assert answer["code"]
    assert not decided(site)


def test_too_many_events_are_refused(site: Site) -> None:
    """The limit of a batch holds after the mapping."""
    status, answer = site.post(
        POSTHOG, {"api_key": "public", "batch": [{"event": "x", "distinct_id": "a"}] * 2501}, key=""
    )
    assert (status, answer["code"]) == (413, "too_large")
    bad = [{"event": "x", "distinct_id": "null"}] * 2500
    started = time.process_time()
    status, answer = site.post(POSTHOG, {"api_key": "public", "batch": bad}, key="", address="192.0.2.2")
    assert (status, len(answer["rejected"])) == (200, 2500)
    assert time.process_time() - started < 2


def test_no_adapter_is_loaded_before_its_first_request() -> None:
    """A site without adapters pays nothing for them at the start."""
    code = "import sys, gateway.routes; print([name for name in sys.modules if 'gateway.adapters' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_boto3_puts_events(site: Site) -> None:
    """PutEvents of the AWS SDK, with another endpoint and a write key as application id."""
    client = boto3.client(
        "pinpoint",
        region_name="eu-central-1",
        endpoint_url="https://events.example.com",
        aws_access_key_id="x",
        aws_secret_access_key="y",
    )

    def answer(request: Any, **_: Any) -> AWSResponse:
        """Return the Gateway's response to a signed *request*."""
        headers = {name.lower(): _as_text(value) for name, value in request.headers.items()}
        response = site.ask("POST", urlsplit(request.url).path, request.body, headers)
        return AWSResponse(request.url, response["statusCode"], response["headers"], _Raw(response["body"].encode()))

    client.meta.events.register("before-send.pinpoint.PutEvents", answer)
    sent = client.put_events(ApplicationId="public", EventsRequest=put(pinpoint(), pinpoint(EventType="x" * 300)))
    statuses = sent["EventsResponse"]["Results"]["d1"]["EventsItemResponse"]
    assert {name: each["StatusCode"] for name, each in statuses.items()} == {"e0": 202, "e1": 400}
    assert events(site) == [(*WIN, 10_000)]
    site.decider.adapters.clear()
    site.age_ms = 60_000
    with pytest.raises(client.exceptions.ClientError, match="adapter_off"):
        client.put_events(ApplicationId="public", EventsRequest=put(pinpoint()))


class _Raw(io.BytesIO):
    """A body as the SDK reads it."""

    def stream(self) -> Iterator[bytes]:
        """Yield the body."""
        yield self.read()


def _as_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
