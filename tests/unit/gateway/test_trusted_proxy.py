"""The proxies in front of the API: direct requests, and which headers are trusted."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway import origin_secret
from gateway.origin_secret import OriginSecret
from gateway.trusted_proxy import Client, TrustedProxy
from shared.errors import Forbidden, OpportuneError, Unavailable
from tests.support.gateway_site import NOW, Site, win
from tests.support.lambdas import http_event

GOOD = "g" * 64
OLD = "o" * 64
WRONG = ["", "g", GOOD[:-1], GOOD + "g", GOOD.upper(), "\N{SNOWMAN}", "\ud800", f"{GOOD},{GOOD}"]
PEER, CLOUDFRONT, VISITOR = "192.0.2.1", "198.51.100.7", "203.0.113.9"


class Store:
    """A fake Secrets Manager with the *versions* of one secret, newest first. ``reads``: number of reads."""

    def __init__(self, *versions: str) -> None:
        self.versions = list(versions)
        self.now = NOW
        self.reads = 0
        self.away = False
        self.told: list[str] = []
        self.later: list[Callable[[], None]] = []

    def read(self) -> list[str]:
        """Return the versions, or raise `Unavailable`."""
        self.reads += 1
        if self.away:
            raise Unavailable("gone", code="secret_unavailable")
        return self.versions

    def tell(self, error: OpportuneError) -> None:
        """Record an error that would be logged."""
        self.told.append(error.code)

    def secret(self) -> OriginSecret:
        """Return the secret of an environment that starts now."""
        made = OriginSecret(self.read, lambda: self.now, self.tell, self.later.append)
        made.refresh()
        return made


@pytest.fixture(name="store")
def _store() -> Store:
    return Store(GOOD)


def asked(peer: str = PEER, **headers: str) -> dict[str, Any]:
    """Return an event with *headers*, written with ``_`` for ``-``."""
    event = http_event("OPTIONS", "/v1/track", b"", {name.replace("_", "-"): text for name, text in headers.items()})
    event["requestContext"]["http"]["sourceIp"] = peer
    return event


# ── Direct requests ────────────────────────────────────────────────────────────────────────────────


def test_without_a_secret_every_request_is_taken(store: Store) -> None:
    """No secret is required, and the headers are ignored."""
    event = asked(x_origin_verify="x", x_opportune_host="evil.example", x_forwarded_for=f"1.1.1.1, {PEER}", host="h")
    assert TrustedProxy().identify_client(event) == Client(PEER, "h")
    assert store.reads == 0


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/track"), ("OPTIONS", "/v1/track"), ("GET", "/tag.js")])
def test_a_request_around_cloudfront_is_refused(store: Store, wrong: str, method: str, path: str) -> None:
    """It gets 403 with a code and CORS headers. The Decider is not called, and the body is not read."""
    site = Site(trusted_proxy=TrustedProxy(secret=store.secret()))
    event = site.event(method, path, json.dumps(win(writeKey="public")).encode(), {"origin": "https://shop.example"})
    event["body"] = "x"  # not base64
    if wrong:
        event["headers"]["x-origin-verify"] = wrong
    response = site.send(event)
    assert (response["statusCode"], json.loads(response["body"])["code"]) == (403, "direct_request")
    assert response["headers"]["Access-Control-Allow-Origin"] == "https://shop.example"
    assert (site.decider.catalogues, site.decider.decided) == (0, [])


def test_a_request_through_cloudfront_is_taken(store: Store) -> None:
    """The secret is read once, when the environment starts."""
    site = Site(trusted_proxy=TrustedProxy(secret=store.secret()))
    for _ in range(5):
        assert site.post("/v1/track", win(), headers={"x-origin-verify": GOOD})[0] == 200
    assert len(site.decider.decided) == 5
    assert store.reads == 1


def test_while_sites_move_both_ways_are_taken_and_the_old_one_is_counted(store: Store) -> None:
    """Direct requests are counted, so an operator sees when the last site has moved."""
    direct: list[int] = []
    proxy = TrustedProxy(secret=store.secret(), allow_direct=True, on_direct=lambda: direct.append(1))
    site = Site(trusted_proxy=proxy)
    for headers in ({}, {"x-origin-verify": GOOD}, {"x-origin-verify": OLD}):
        assert site.post("/v1/track", win(), headers=headers)[0] == 200
    assert len(direct) == 2
    with pytest.raises(Forbidden):
        TrustedProxy(secret=store.secret(), on_direct=lambda: direct.append(1)).identify_client(asked())
    assert len(direct) == 3


# ── Rotation ───────────────────────────────────────────────────────────────────────────────────────


def test_an_environment_with_the_old_secret_finds_the_new_one(store: Store) -> None:
    """Both versions are accepted during the change. The first request with the new one causes the only read."""
    secret = store.secret()
    store.versions = ["n" * 64, GOOD]
    store.now += origin_secret.MIN_INTERVAL_MS
    assert secret.matches(GOOD)
    assert store.reads == 1
    assert [secret.matches(each) for each in ("n" * 64, GOOD, "n" * 64)] == [True] * 3
    assert store.reads == 2
    assert not secret.matches(OLD)


def test_an_environment_started_during_a_rotation_knows_both(store: Store) -> None:
    """CloudFront still sends the old version."""
    store.versions = [GOOD, OLD]
    secret = store.secret()
    assert (secret.matches(OLD), secret.matches(GOOD), store.reads) == (True, True, 1)


def test_wrong_secrets_do_not_become_calls(store: Store) -> None:
    """Many wrong secrets cause one read a minute."""
    secret = store.secret()
    for _ in range(1000):
        assert not secret.matches(OLD)
        store.now += 120
    assert store.reads == 1 + 120_000 // origin_secret.MIN_INTERVAL_MS - 1


def test_an_old_secret_stops_being_accepted_within_the_hour(store: Store) -> None:
    """No request waits for this. It limits how long a leaked old secret is accepted."""
    store.versions = [GOOD, OLD]
    secret = store.secret()
    store.versions = [GOOD, GOOD]
    store.now += origin_secret.MAX_AGE_MS - 1
    assert (secret.matches(OLD), store.later) == (True, [])
    store.now += 1
    assert secret.matches(GOOD)
    assert secret.matches(GOOD)
    assert (store.reads, len(store.later)) == (1, 1)
    store.later.pop()()
    assert (secret.matches(OLD), secret.matches(GOOD)) == (False, True)


def test_a_clock_that_is_put_back_hides_no_rotation(store: Store) -> None:
    """A secret with a read time in the future is read again, once."""
    secret = store.secret()
    store.versions = ["n" * 64, GOOD]
    store.now -= 10 * origin_secret.MAX_AGE_MS
    assert [secret.matches(each) for each in ("n" * 64, GOOD, OLD)] == [True, True, False]
    assert (store.reads, store.later) == (2, [])


# ── The secret cannot be read ──────────────────────────────────────────────────────────────────────


def test_without_its_secret_a_new_environment_asks_for_a_retry(store: Store) -> None:
    """It returns 503, because trackers drop events after 403. The secret is read again after a pause."""
    store.away = True
    site = Site(trusted_proxy=TrustedProxy(secret=store.secret()))
    for _ in range(3):
        status, told = site.post("/v1/track", win(), headers={"x-origin-verify": GOOD})
        assert (status, told["code"]) == (503, "origin_unavailable")
    assert site.post("/v1/track", win())[0] == 403
    assert (store.reads, store.told) == (1, ["secret_unavailable"])
    store.away = False
    store.now += origin_secret.RETRY_INTERVAL_MS
    assert site.post("/v1/track", win(), headers={"x-origin-verify": GOOD})[0] == 200
    assert site.post("/v1/track", win(), headers={"x-origin-verify": OLD})[0] == 403


def test_a_known_secret_works_without_secrets_manager(store: Store) -> None:
    """Only unknown secrets get 503, so trackers retry."""
    secret = store.secret()
    store.away = True
    store.now += origin_secret.MAX_AGE_MS
    assert secret.matches(GOOD)
    store.later.pop()()
    assert secret.matches(GOOD)
    with pytest.raises(Unavailable):
        secret.matches(OLD)
    assert store.told == ["secret_unavailable"]


# ── Trusted headers ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "1.1.1.1, 2.2.2.2, 9.9.9.9", "9.9.9.9"),
        (1, "1.1.1.1, 2.2.2.2, 9.9.9.9", "2.2.2.2"),
        (1, "1.1.1.1,2.2.2.2,9.9.9.9", "2.2.2.2"),
        (2, "1.1.1.1, 2.2.2.2, 9.9.9.9", "1.1.1.1"),
        (1, "2001:db8:1:2::9, 9.9.9.9", "2001:db8:1:2::9"),
        (1, "[2001:db8:1:2::9]:50123, 9.9.9.9", "2001:db8:1:2::9"),
        (1, "203.0.113.9:50123, 9.9.9.9", "203.0.113.9"),
        (1, "9.9.9.9", "9.9.9.9"),
        (1, "", "9.9.9.9"),
        (1, None, "9.9.9.9"),
    ],
)
@pytest.mark.parametrize("guarded", [True, False])
def test_behind_proxies_the_address_is_the_one_that_they_saw(
    store: Store, proxies: int, forwarded: str | None, address: str, guarded: bool
) -> None:
    """Entries that the client itself wrote are further left and are ignored. Ports are removed."""
    headers = {} if forwarded is None else {"x_forwarded_for": forwarded}
    proxy = TrustedProxy(proxies=proxies, secret=store.secret() if guarded else None)
    assert proxy.identify_client(asked("9.9.9.9", x_origin_verify=GOOD, **headers)).address == address


@pytest.mark.parametrize("wrong", WRONG)
def test_without_the_secret_headers_set_neither_address_nor_host(store: Store, wrong: str) -> None:
    """While sites move, a direct request counts for the address that API Gateway saw, whatever its headers."""
    proxy = TrustedProxy(proxies=1, secret=store.secret(), allow_direct=True)
    said = {"x_forwarded_for": f"{VISITOR}, {PEER}", "x_opportune_host": "evil.example", "host": "api.example"}
    assert proxy.identify_client(asked(x_origin_verify=wrong, **said)) == Client(PEER, "api.example")


def test_the_rate_is_the_visitors_and_not_cloudfronts(store: Store) -> None:
    """Each visitor behind an edge has a separate rate, which neither headers nor direct requests can change."""
    site = Site(trusted_proxy=TrustedProxy(proxies=1, secret=store.secret(), allow_direct=True))
    batch = {"batch": [win(type="track", event="nobody asks")] * 1000}

    def sent(forwarded: str, peer: str, secret: str = GOOD) -> int:
        headers = {"x-origin-verify": secret, "x-forwarded-for": forwarded}
        return site.post("/v1/batch", batch, headers=headers, address=peer)[0]

    assert sent(f"{VISITOR}, {CLOUDFRONT}", CLOUDFRONT) == 200
    assert sent(f"1.1.1.1, {VISITOR}, 198.51.100.8", "198.51.100.8") == 429
    assert sent(f"203.0.113.10, {CLOUDFRONT}", CLOUDFRONT) == 200
    assert sent(f"203.0.113.11, {PEER}", PEER, secret="") == 200
    assert sent(f"203.0.113.12, {PEER}", PEER, secret="") == 429


def test_segments_library_is_sent_to_the_host_that_it_asked(store: Store) -> None:
    """The library gets CloudFront's host, not API Gateway's."""
    site = Site(trusted_proxy=TrustedProxy(secret=store.secret(), allow_direct=True))
    known = {"host": "a1.execute-api.example", "x-opportune-host": "events.shop.example"}

    def host(**headers: str) -> str:
        path = "/v1/projects/public/settings"
        response = site.ask("GET", path, b"", {**known, **{k.replace("_", "-"): v for k, v in headers.items()}})
        told: str = json.loads(response["body"])["integrations"]["Segment.io"]["apiHost"]
        return told

    assert host(x_origin_verify=GOOD) == "events.shop.example/v1"
    assert host() == "a1.execute-api.example/v1"
