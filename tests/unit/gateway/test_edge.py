"""The public edge around the events: keys, origins, rates, privacy, pixels and third-party libraries."""

import base64
import json
from typing import Any

import pytest

from definitions.compiler.ruleset import compile_ruleset
from gateway import rate_limiter
from gateway.pixel import GIF
from gateway.rate_limiter import RateLimiter
from gateway.routes import ROUTES
from shared.conditions.paths import get_value
from shared.errors import TooManyRequests
from tests.support.definitions import define
from tests.support.gateway_site import NOW, Site, win


@pytest.fixture(name="site")
def _site() -> Site:
    return Site()


def answer(response: dict[str, Any]) -> tuple[int, Any]:
    """Return status and code of a response."""
    return response["statusCode"], json.loads(response["body"]).get("code")


# ── Addresses ──────────────────────────────────────────────────────────────────────────────────────

KINDS = {
    "t": "track", "p": "page", "i": "identify", "s": "screen", "g": "group", "a": "alias",
    **{kind: kind for kind in ("track", "page", "identify", "screen", "group", "alias")},
}  # fmt: skip
WHOLE = win(previousId="b", groupId="g", messageId="m")


@pytest.mark.parametrize("path", KINDS)
def test_every_call_has_its_path_and_its_short_path(site: Site, path: str) -> None:
    """A trailing slash and the body's own type make no difference."""
    for end in ("", "/"):
        assert site.post(f"/v1/{path}{end}", {**WHOLE, "type": "nonsense"})[0] == 200
    named = {"track": "game_result", "page": "Page Viewed"}.get(KINDS[path])
    assert [event.event for request in site.decider.decided for event in request.events] == [named] * 2 * bool(named)


@pytest.mark.parametrize("path", ["batch", "b", "import", "import/"])
def test_a_batch_has_paths_of_several_libraries(site: Site, path: str) -> None:
    """All paths accept the same body."""
    assert site.post(f"/v1/{path}", {"batch": [win(type="track")]})[0] == 200
    assert len(site.decider.decided) == 1


def test_another_method_is_told_which_ones_are_allowed(site: Site) -> None:
    """The response is 405 with Allow. OPTIONS works everywhere."""
    response = site.ask("GET", "/v1/track")
    assert (answer(response), response["headers"]["Allow"]) == ((405, "method_not_allowed"), "POST, OPTIONS")
    for route in ROUTES:
        assert site.ask("OPTIONS", route.paths[0])["statusCode"] == 204


# ── Keys ───────────────────────────────────────────────────────────────────────────────────────────


def basic(text: str) -> str:
    """Return Basic authentication of *text*."""
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "in_body", "in_query", "code"),
    [
        (basic("public:"), None, None, None),
        (basic("public"), None, None, None),
        (basic("public").rstrip("="), None, None, None),
        (basic("public:").replace("Basic", "basic"), None, None, None),
        (basic("public:password"), None, None, None),
        (basic(":"), "public", None, None),
        ("Bearer eyJ0eXAi", "public", None, None),
        ("", "public", "other", None),
        ("", "", "public", None),
        ("", None, "public", None),
        ("Bearer eyJ0eXAi", None, None, "no_write_key"),
        (basic("other:"), "public", "public", "invalid_write_key"),
        ("Basic \N{SNOWMAN}", "public", None, "invalid_write_key"),
        ("", {"a": 1}, None, "no_write_key"),
    ],
)
def test_the_key_is_found_in_any_of_its_places(
    site: Site, authorization: str, in_body: Any, in_query: str | None, code: str | None
) -> None:
    """The order is Basic (with or without colon and padding), body, query. The first one counts."""
    query = {} if in_query is None else {"writeKey": in_query}
    body = json.dumps(win(writeKey=in_body)).encode()
    response = site.ask("POST", "/v1/track", body, {"authorization": authorization}, query)
    assert answer(response) == ((200, None) if code is None else (401, code))


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://shop.example", True),
        ("https://www.shop.example", True),
        ("https://a.b.shop.example", True),
        ("", True),
        ("http://shop.example", False),
        ("https://shop.example:8443", False),
        ("https://evilshop.example", False),
        ("https://.shop.example", False),
        ("https://shop.example.evil.example", False),
        ("null", False),
    ],
)
def test_a_key_may_be_for_some_pages_only(site: Site, origin: str, allowed: bool) -> None:
    """Other pages get an error that they can read. Programs send no origin."""
    headers = {"origin": origin} if origin else {}
    status, told = site.post("/v1/track", win(), key="shop", headers=headers)
    assert (status, told.get("code")) == ((200, None) if allowed else (403, "origin_not_allowed"))
    assert len(site.decider.decided) == allowed


def test_a_secret_key_in_a_browser_is_refused(site: Site) -> None:
    """Every visitor of that page could send what only servers may."""
    status, told = site.post("/v1/track", win(), key="secret", headers={"origin": "https://shop.example"})
    assert (status, told["code"], site.decider.decided) == (403, "secret_key_in_browser", [])


# ── CORS ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("origin", ["https://shop.example", "http://localhost:3000", "null", "capacitor://localhost"])
def test_an_origin_is_echoed_on_every_answer(site: Site, origin: str) -> None:
    """This holds for success, every kind of error, preflights and pixels."""
    responses = [
        site.ask("POST", "/v1/track", json.dumps(win(writeKey="public")).encode(), {"origin": origin}),
        site.ask("POST", "/v1/track", b"{", {"origin": origin}),
        site.ask("POST", "/v1/track", json.dumps(win()).encode(), {"origin": origin}),
        site.ask("GET", "/v1/track", b"", {"origin": origin}),
        site.ask("GET", "/nowhere", b"", {"origin": origin}),
        site.ask("OPTIONS", "/nowhere", b"", {"origin": origin}),
        site.ask("GET", "/v1/pixel/track", b"", {"origin": origin}),
    ]
    assert [response["statusCode"] for response in responses] == [200, 400, 401, 405, 404, 204, 200]
    for response in responses:
        assert response["headers"]["Access-Control-Allow-Origin"] == origin
        assert response["headers"]["Vary"] == "Origin, Accept-Encoding"
        assert "Retry-After" in response["headers"]["Access-Control-Expose-Headers"]
        assert response["headers"]["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize(
    "origin",
    [
        "https://a.example\r\nSet-Cookie: a=b",
        "https://a.example\nX: y",
        "https://a.example, https://b.example",
        "https://a.example <script>",
        "https://a.example\0",
        "https://\u2028.example",
        "https://" + "a" * 300,
        "https://a.example\n",
        "javascript:alert(1)",
        "",
    ],
)
def test_what_is_no_origin_is_not_echoed(site: Site, origin: str) -> None:
    """No part of an invalid header is returned."""
    response = site.ask("POST", "/v1/track", b"{", {"origin": origin})
    assert response["headers"]["Access-Control-Allow-Origin"] == "*"


def test_a_retry_may_send_its_headers(site: Site) -> None:
    """A retry sends additional headers; if they were missing here, its preflight would fail."""
    allowed = site.ask("OPTIONS", "/v1/t")["headers"]["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "x-retry-count", "anonymousid", "sentat"} <= set(allowed)
    assert {f"rsa-{name}" for name in ("recovered", "retry-attempt", "retry-reason")} <= set(allowed)
    assert {"rsa-since-first-attempt", "rsa-since-last-attempt"} <= set(allowed)


# ── Rates ──────────────────────────────────────────────────────────────────────────────────────────


def test_an_address_gets_its_rate_and_is_told_when_to_come_back(site: Site) -> None:
    """A burst of ten seconds is accepted, then 429 with the time to wait. After that time it works again."""
    batch = {"batch": [win(type="track", event="not in a trigger")] * 500}
    assert [site.post("/v1/batch", batch)[0] for _ in range(3)] == [200, 200, 429]
    response = site.ask("POST", "/v1/batch", json.dumps({**batch, "writeKey": "public"}).encode())
    assert answer(response) == (429, "too_many_requests")
    assert (response["headers"]["Retry-After"], response["headers"]["X-RateLimit-Reset"]) == ("5", "5")
    assert site.post("/v1/batch", batch, address="192.0.2.2")[0] == 200
    site.age_ms = 4_999
    assert site.post("/v1/batch", batch)[0] == 429
    site.age_ms = 5_000
    assert site.post("/v1/batch", batch)[0] == 200


def test_what_is_refused_counts_and_nothing_of_a_batch_over_the_rate_is_taken(site: Site) -> None:
    """The rate accepts or refuses a whole batch, and invalid items count too."""
    assert site.post("/v1/batch", {"batch": [{}] * 990})[0] == 200
    assert site.post("/v1/batch", {"batch": [win(type="track")] * 11})[0] == 429
    assert site.decider.decided == []
    assert site.post("/v1/batch", {"batch": [win(type="track")] * 10})[0] == 200


def test_servers_have_no_rate(site: Site) -> None:
    """A secret key is trusted, because a server sends for all users from one address."""
    batch = {"batch": [win(type="track", event="not in a trigger")] * 2500}
    assert {site.post("/v1/batch", batch, key="secret")[0] for _ in range(5)} == {200}


def test_a_batch_over_the_bucket_is_taken_and_leaves_a_debt() -> None:
    """Otherwise the largest batch could never be sent. Afterwards the sender waits for its whole cost."""
    now = [NOW]
    buckets = RateLimiter(100, lambda: now[0])
    buckets.acquire("key", "192.0.2.1", 2500)
    with pytest.raises(TooManyRequests) as refused:
        buckets.acquire("key", "192.0.2.1", 1)
    assert refused.value.after_s == 16
    now[0] += 15_010
    buckets.acquire("key", "192.0.2.1", 1)


def test_the_memory_for_rates_is_bounded() -> None:
    """Many addresses leave at most ten thousand buckets, and the one in use stays."""
    buckets = RateLimiter(100, lambda: NOW)
    buckets.acquire("key", "192.0.2.1", 1000)
    for n in range(rate_limiter.MAX_BUCKETS * 3):
        buckets.acquire("key", f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1)
        if n % 5_000 == 0:
            with pytest.raises(TooManyRequests):
                buckets.acquire("key", "192.0.2.1", 1)
    assert len(buckets) == rate_limiter.MAX_BUCKETS


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002"),
        ("2001:db8:1:2::9%eth0", "20010db800010002"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("not:an:address", "not:an:address"),
        ("x" * 1000, "x" * 64),
    ],
)
def test_an_ipv6_address_is_counted_by_its_network(address: str, counted: str) -> None:
    """One customer of a provider has 2^64 addresses."""
    assert rate_limiter.mask_address(address) == counted


def test_what_is_refused_is_counted(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong keys and invalid events appear in the metrics, without ids of users."""
    site.post("/v1/batch", {"batch": [win(type="track"), {}, {"type": "track", "userId": "anna"}]})
    site.post("/v1/track", win(), key="other")
    counted = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    found = {name: each[name] for each in counted for name in ("EventsRefused", "RequestsRefused") if name in each}
    assert found == {"EventsRefused": [2.0], "RequestsRefused": [1.0]}
    assert "anna" not in str(counted)


# ── Global Privacy Control ─────────────────────────────────────────────────────────────────────────


def test_global_privacy_control_is_honoured(site: Site) -> None:
    """The event counts but shows no popup, and no profile or id changes."""
    items = [
        {"type": "identify", "userId": "anna", "anonymousId": "x", "traits": {"tier": "vip"}},
        {"type": "alias", "userId": "anna", "previousId": "x"},
        {"type": "group", "userId": "anna", "groupId": "g"},
        win(type="track", messageId="m"),
    ]
    assert site.post("/v1/batch", {"batch": items}, headers={"sec-gpc": "1"})[0] == 200
    (request,) = site.decider.decided
    assert [(event.message_id, event.popup_block_reason) for event in request.events] == [("m", "gpc")]
    site.post("/v1/track", win(), headers={"sec-gpc": "0"})
    assert [event.popup_block_reason for event in site.decider.decided[1].events] == [""]


# ── Pixels ─────────────────────────────────────────────────────────────────────────────────────────


def pixel(site: Site, kind: str = "track", **query: str) -> dict[str, str]:
    """Return the headers of a pixel; its body is always the image."""
    response = site.ask("GET", f"/v1/pixel/{kind}", query=query)
    assert (response["statusCode"], response["isBase64Encoded"]) == (200, True)
    assert base64.b64decode(response["body"]) == GIF
    assert response["headers"]["Content-Type"] == "image/gif"
    assert response["headers"]["Cache-Control"] == "no-store"
    headers: dict[str, str] = response["headers"]
    return headers


def test_a_pixel_is_an_event(site: Site) -> None:
    """It may be base64 in both alphabets, with spaces for plus signs, or flat. Its response cannot hold a popup."""
    plain = json.dumps(win(writeKey="public", context={"note": "\x7f>?~~~\xff"}), ensure_ascii=False).encode()
    standard, safe = base64.b64encode(plain).decode(), base64.urlsafe_b64encode(plain).decode()
    assert "+" in standard
    flat = {"writeKey": "public", "userId": "anna", "event": "game_result", "properties.outcome": "win"}
    queries = [{"data": standard}, {"data": standard.replace("+", " ")}, {"data": safe.rstrip("=")}, flat]
    for query in queries:
        assert "X-Opportune-Error" not in pixel(site, **query)
    events = [event for request in site.decider.decided for event in request.events]
    assert [(e.user, e.event, e.attributes, e.popup_block_reason) for e in events] == [
        ("anna", "game_result", {"outcome": "win"}, "unanswered")
    ] * 4


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("12.5", "number", 12.5),
        ("-3", "number", -3),
        (" 7 ", "number", 7),
        ("true", "boolean", True),
        ("FALSE", "boolean", False),
        ("12.5", "text", "12.5"),
        ("true", "text", "true"),
        ("007", "number", "007"),
        ("many", "number", "many"),
        ("1e400", "number", "1e400"),
        ("1", "boolean", "1"),
        ("", "number", ""),
    ],
)
@pytest.mark.parametrize("name", ["outcome", "cart.total"])
def test_flat_values_of_a_pixel_have_the_types_of_the_events_definition(
    site: Site, name: str, text: str, kind: str, value: Any
) -> None:
    """A query has only text. What is not of the type stays as it is, as in a body."""
    site_file = {"id": "demo", "name": "Demo", "keys": [{"kind": "public", "key": "wk_public"}]}
    live = {"site": site_file, "events": [{"name": "game_result", "attributes": {name: kind}}]}
    site.decider.types = compile_ruleset(define(live), []).event_types
    site.decider.events = {"game_result": [name.split(".", maxsplit=1)[0]]}
    pixel(site, writeKey="public", userId="anna", event="game_result", **{f"properties.{name}": text})
    attributes = site.decider.decided[-1].events[0].attributes
    assert attributes == ({"outcome": value} if name == "outcome" else {"cart": {"total": value}})
    assert type(get_value(attributes, name.split("."))) is type(value)


def test_values_in_base64_have_their_own_types(site: Site) -> None:
    """JSON says what is text."""
    site.decider.types = {"game_result": {"outcome": "number"}}
    data = base64.b64encode(json.dumps(win(writeKey="public") | {"properties": {"outcome": "7"}}).encode()).decode()
    pixel(site, data=data)
    assert site.decider.decided[-1].events[0].attributes == {"outcome": "7"}


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "no_write_key"),
        ({"data": "!"}, "malformed_body"),
        ({"data": base64.b64encode(b"{").decode()}, "malformed_json"),
        ({"data": base64.b64encode(b"x" * 40_000).decode()}, "too_large"),
        ({"writeKey": "other", "userId": "a", "event": "x"}, "invalid_write_key"),
        ({"writeKey": "public", "event": "x"}, "no_user_anon_id"),
        ({"writeKey": "public", "userId": "a", "event": "x", "properties": "p", "properties.a": "b"}, "invalid_field"),
        (
            {"writeKey": "public", "userId": "a", "event": "x", "properties.a.b": "p", "properties.a": "b"},
            "duplicate_key",
        ),
    ],
)
def test_a_pixel_that_is_not_taken_is_an_image_too(site: Site, query: dict[str, str], code: str) -> None:
    """The response is still the image, and a header has the reason."""
    assert pixel(site, **query)["X-Opportune-Error"] == code
    assert site.decider.decided == []


def test_there_is_no_pixel_of_other_types(site: Site) -> None:
    """This is a mistake in a page or an e-mail, which its author should see."""
    assert answer(site.ask("GET", "/v1/pixel/shout")) == (404, "not_found")


# ── Third-party libraries ──────────────────────────────────────────────────────────────────────────


def test_segments_browser_library_is_sent_here(site: Site) -> None:
    """It reads key, host and protocol from this response. The host is the one it asked."""
    headers = {"host": "events.shop.example", "x-forwarded-proto": "https", "origin": "https://shop.example"}
    response = site.ask("GET", "/v1/projects/shop/settings/", b"", headers, {"v": "2"})
    assert response["statusCode"] == 200
    assert json.loads(response["body"])["integrations"] == {
        "Segment.io": {"apiKey": "shop", "apiHost": "events.shop.example/v1", "protocol": "https"}
    }
    assert response["headers"]["Cache-Control"] == "public, max-age=300"


@pytest.mark.parametrize(
    ("sent", "protocol"),
    [("http", "http"), ("HTTP, https", "http"), ("https, http", "https"), ("javascript", "https"), ("", "https")],
)
def test_the_protocol_that_a_library_is_told_is_one(site: Site, sent: str, protocol: str) -> None:
    """The response is cached for minutes, so a header must not put anything else into it."""
    headers = {"host": "events.shop.example", "x-forwarded-proto": sent}
    response = site.ask("GET", "/v1/projects/shop/settings", b"", headers)
    assert json.loads(response["body"])["integrations"]["Segment.io"]["protocol"] == protocol


@pytest.mark.parametrize(
    ("key", "headers", "told"),
    [
        ("other", {}, (401, "invalid_write_key")),
        ("secret", {}, (403, "secret_key_in_browser")),
        ("shop", {"origin": "https://evil.example"}, (403, "origin_not_allowed")),
        ("public", {"host": "evil.example/?"}, (400, "invalid_host")),
    ],
)
def test_settings_are_for_public_keys_on_their_pages(
    site: Site, key: str, headers: dict[str, str], told: tuple[int, str]
) -> None:
    """A wrong key is an error here, because without settings the library never sends anything."""
    response = site.ask("GET", f"/v1/projects/{key}/settings", b"", {"host": "events.shop.example", **headers})
    assert answer(response) == told


def test_rudders_browser_library_finds_its_source(site: Site) -> None:
    """It has the fields that the library requires."""
    response = site.ask("GET", "/sourceConfig/", b"", {"authorization": basic("public:")}, {"writeKey": "public"})
    source = json.loads(response["body"])["source"]
    assert (source["id"], source["enabled"], source["config"], source["destinations"]) == ("demo", True, {}, [])


@pytest.mark.parametrize("path", ["/v1/m", "/rsaMetrics"])
def test_reports_of_libraries_about_themselves_are_dropped(site: Site, path: str) -> None:
    """They are accepted, so that libraries do not retry them."""
    assert site.post(path, {"series": []}, key="") == (200, {"success": True})


def test_a_beacon_brings_a_batch_with_its_key_in_the_query(site: Site) -> None:
    """RudderStack's library sends one when the page is left."""
    assert site.post("/beacon/v1/batch", {"batch": [win(type="track")]}, key="", writeKey="public")[0] == 200
    assert len(site.decider.decided) == 1
