"""The Gateway, through its real handler."""

import gzip
import json
from typing import Any

import pytest

from tests.support.gateway_site import NOW, POPUP, Site, win
from tests.support.lambdas import Context, http_event


@pytest.fixture(name="site")
def _site() -> Site:
    return Site()


def test_a_named_event_is_passed_on_slim_and_its_popup_comes_back(site: Site) -> None:
    """Only attributes that a trigger reads are sent to the Decider. The response is 200 with success true."""
    status, answer = site.post("/v1/track", win(messageId="m1"))
    assert (status, answer) == (200, {"success": True, "messages": [POPUP]})
    (request,) = site.decider.decided
    (event,) = request.events
    assert (request.site, event.user, event.event, event.message_id) == ("demo", "anna", "game_result", "m1")
    assert (event.attributes, event.at, event.received) == ({"outcome": "win"}, NOW, NOW)
    assert request.deadline == NOW + 2000


def test_an_event_that_no_live_trigger_names_costs_no_call(site: Site) -> None:
    """With the catalogue loaded, an irrelevant event costs no call."""
    for _ in range(100):
        assert site.post("/v1/track", win(event="page_scrolled")) == (200, {"success": True, "messages": []})
    assert (site.decider.decided, site.decider.catalogues) == ([], 1)


def test_a_batch_is_one_call_with_its_relevant_events_in_order(site: Site) -> None:
    """Irrelevant items and other types of call are accepted but not passed on. The order is kept."""
    items = [win(type="track", messageId=str(n)) for n in range(5)]
    items[1]["event"] = "not in a trigger"
    items[3] = {"type": "identify", "userId": "anna", "traits": {}}
    status, answer = site.post("/v1/batch/", {"batch": items})
    assert status == 200
    assert [event.message_id for event in site.decider.decided[0].events] == ["0", "2", "4"]
    assert len(site.decider.decided) == 1
    assert "rejected" not in answer


def test_bad_items_of_a_batch_are_named_and_good_ones_taken(site: Site) -> None:
    """Each bad item is returned with its position, id and code."""
    items: list[Any] = [
        win(type="track", messageId="good"),
        "no object",
        {"type": "track", "event": "game_result", "messageId": "nobody"},
        win(type="shout"),
        win(type="track", properties=[1]),
        win(type="track", event=""),
        win(type="track", padding="x" * 33_000),
    ]
    status, answer = site.post("/v1/batch", {"batch": items})
    assert status == 200
    assert [event.message_id for event in site.decider.decided[0].events] == ["good"]
    assert [(item["index"], item["code"]) for item in answer["rejected"]] == [
        (1, "invalid_event"),
        (2, "no_user_anon_id"),
        (3, "invalid_type"),
        (4, "invalid_properties"),
        (5, "no_event_name"),
        (6, "too_large"),
    ]
    assert answer["rejected"][1]["messageId"] == "nobody"


DEEP: Any = {}
for _ in range(9):
    DEEP = {"a": DEEP}


def test_a_key_newer_than_the_catalogue_is_found_and_unknown_ones_cost_little(site: Site) -> None:
    """After the polling interval, an unknown key refreshes the catalogue once, however many guesses follow."""
    site.post("/v1/track", win())
    site.decider.newer_key = "newer"
    assert site.post("/v1/track", win(), key="newer")[0] == 401
    site.age_ms = 10_000
    assert site.post("/v1/track", win(), key="newer")[0] == 200
    for _ in range(100):
        assert site.post("/v1/track", win(), key="guess")[0] == 401
    assert site.decider.catalogues == 2


def test_a_site_that_the_decider_could_not_read_is_not_unknown(site: Site) -> None:
    """Its known keys stay valid. An unknown key may belong to it, so the response is 503, and trackers retry.

    After a 401, a tracker would drop its events.
    """
    site.decider.unread = ["demo", "other"]
    assert [site.post("/v1/track", win(), key=key)[0] for key in ("public", "guess")] == [503, 503]
    site.age_ms = 10_000
    site.decider.unread = ["other"]
    assert [site.post("/v1/track", win(), key=key)[0] for key in ("public", "guess")] == [200, 503]
    site.age_ms = 40_000
    site.decider.unread = ["demo"]
    assert [site.post("/v1/track", win(), key=key)[0] for key in ("public", "guess")] == [200, 401]


BAD = [
    pytest.param(b"{", {}, 400, "malformed_json", id="cut JSON"),
    pytest.param(b"", {}, 400, "malformed_json", id="no body"),
    pytest.param(b"[]", {}, 400, "malformed_json", id="not an object"),
    pytest.param(b"\xff\xfe", {}, 400, "malformed_json", id="not UTF-8"),
    pytest.param(b"[" * 100_000, {}, 413, "too_large", id="deep and long"),
    pytest.param(b'{"a":' * 5_000, {}, 400, "malformed_json", id="deep nesting"),
    pytest.param(b"x" * 1_000_000, {}, 413, "too_large", id="1 MB"),
    pytest.param(gzip.compress(b" " * 10_000_000), {}, 413, "too_large", id="zip bomb"),
    pytest.param(b"\x1f\x8bnot gzip", {}, 400, "malformed_gzip", id="broken gzip"),
    pytest.param({"event": "game_result"}, {}, 400, "no_user_anon_id", id="no user"),
    pytest.param(win(userId=""), {}, 400, "no_user_anon_id", id="empty user"),
    pytest.param(win(userId=None), {}, 400, "no_user_anon_id", id="null user"),
    pytest.param(win(userId=["a"]), {}, 400, "invalid_field", id="user is a list"),
    pytest.param(win(userId="anon:x"), {}, 400, "reserved_user_id", id="reserved user"),
    pytest.param(win(userId="u" * 257), {}, 400, "invalid_field", id="long user"),
    pytest.param(win(event=None), {}, 400, "no_event_name", id="no event"),
    pytest.param(win(event={"a": 1}), {}, 400, "invalid_field", id="event is an object"),
    pytest.param(win(properties="x"), {}, 400, "invalid_properties", id="properties is text"),
    pytest.param(win(properties=DEEP), {}, 400, "too_deep", id="properties too deep"),
    pytest.param(win(messageId=7.5), {}, 400, "invalid_field", id="message id is a number"),
    pytest.param(win(messageId="m" * 101), {}, 400, "invalid_field", id="long message id"),
    pytest.param(win(), {"key": "unknown"}, 401, "invalid_write_key", id="unknown key"),
    pytest.param(win(), {"key": ""}, 401, "no_write_key", id="no key"),
    pytest.param(win(), {"headers": {"authorization": "Basic !!"}}, 401, "invalid_write_key", id="broken Basic"),
    pytest.param(
        win(context={"opportune": {"history": True}}, timestamp="2026-01-01T00:00:00Z"),
        {},
        400,
        "history_needs_secret_key",
        id="history with a public key",
    ),
    pytest.param(
        win(context={"opportune": {"history": True}}, timestamp="soon"),
        {"key": "secret"},
        400,
        "invalid_timestamp",
        id="history without a time",
    ),
]


@pytest.mark.parametrize(("body", "options", "status", "code"), BAD)
def test_bad_input_is_a_clear_error(site: Site, body: Any, options: dict[str, Any], status: int, code: str) -> None:
    """Every bad request gets a status, a code and a message, and nothing is passed on."""
    got, answer = site.post("/v1/track", body, **options)
    assert (got, answer["code"], answer["success"]) == (status, code, False)
    assert isinstance(answer["message"], str)
    assert answer["message"]
    assert site.decider.decided == []


@pytest.mark.parametrize(
    ("body", "code"),
    [({"batch": "x"}, "invalid_batch"), ({}, "invalid_batch"), ({"batch": [{}] * 2501}, "too_large")],
)
def test_a_batch_that_is_none_is_refused(site: Site, body: Any, code: str) -> None:
    """An invalid batch has its own error codes."""
    assert site.post("/v1/batch", body)[1]["code"] == code


def test_unknown_address_and_method_are_json_errors(site: Site) -> None:
    """They have a code and a message; otherwise trackers would treat them as network errors."""
    status, answer = site.post("/v1/nowhere", win())
    assert (status, answer["code"]) == (404, "not_found")
    response = site.handler(http_event("GET", "/v1/track", b""), Context())
    assert (response["statusCode"], json.loads(response["body"])["code"]) == (405, "method_not_allowed")


def test_every_answer_carries_cors_and_preflight_lists_the_headers(site: Site) -> None:
    """The origin is echoed, including on errors, and a retry's headers are allowed."""
    for path in ("/v1/track", "/v1/nowhere"):
        response = site.handler(http_event("POST", path, b"{", {"origin": "https://shop.example"}), Context())
        assert response["headers"]["Access-Control-Allow-Origin"] == "https://shop.example"
    preflight = site.handler(http_event("OPTIONS", "/v1/track", b"", {"origin": "https://shop.example"}), Context())
    assert preflight["statusCode"] == 204
    assert "X-Retry-Count" in str(preflight["headers"]["Access-Control-Allow-Headers"])


def test_the_key_may_come_in_body_or_query_and_the_body_packed_under_any_type(site: Site) -> None:
    """Gzip is recognised by its first bytes, whatever the content type."""
    packed = gzip.compress(json.dumps(win(writeKey="public")).encode())
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert site.post("/v1/track", packed, key="", headers=headers)[0] == 200
    assert site.post("/v1/track", win(), key="", writeKey="public")[0] == 200
    assert len(site.decider.decided) == 2


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({"timestamp": "2026-09-21T09:00:00.000Z", "sentAt": "2026-09-21T09:00:30.000Z"}, NOW - 30_000),
        ({"originalTimestamp": "2026-09-21T09:00:00Z", "sentAt": "2026-09-21T08:00:00Z"}, NOW),
        ({"timestamp": "2026-9-21T9:00:00.276Z", "sentAt": "2026-09-21T09:00:30Z"}, NOW - 29_724),
        ({"timestamp": "2999-01-01T00:00:00Z"}, NOW),
        ({}, NOW),
    ],
    ids=["age by the client's own clock", "sent before it happened", "unreadable", "in the future", "none"],
)
def test_times_are_corrected_by_the_servers_clock(site: Site, fields: dict[str, str], at: int) -> None:
    """The time is received - (sentAt - timestamp). It is never in the future, and never refused."""
    site.post("/v1/track", win(**fields))
    assert site.decider.decided[0].events[0].at == at


def test_history_keeps_its_own_time(site: Site) -> None:
    """With a secret key, the event's own time counts."""
    fields = {"context": {"opportune": {"history": True}}, "timestamp": "2019-10-01T00:00:00Z"}
    site.post("/v1/track", win(**fields), key="secret")
    event = site.decider.decided[0].events[0]
    assert (event.history, event.at) == (True, 1_569_888_000_000)


def test_an_anonymous_visitor_is_kept_apart_from_known_users(site: Site) -> None:
    """The same text as user id and as anonymous id means two users."""
    site.post("/v1/track", win(userId=None, anonymousId="anna"))
    assert site.decider.decided[0].events[0].user == "anon:anna"
