"""What stands in front of the API: who may come around it, and whose word counts about the client."""

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
    """Secrets Manager as the Gateway sees it: the *versions* of one secret, newest first; ``reads``: how often."""

    def __init__(self, *versions: str) -> None:
        self.versions = list(versions)
        self.now = NOW
        self.reads = 0
        self.away = False
        self.told: list[str] = []
        self.later: list[Callable[[], None]] = []

    def read(self) -> list[str]:
        """Return the versions, if they can be had."""
        self.reads += 1
        if self.away:
            raise Unavailable("gone", code="secret_unavailable")
        return self.versions

    def tell(self, error: OpportuneError) -> None:
        """Remember what the log would say."""
        self.told.append(error.code)

    def secret(self) -> OriginSecret:
        """Return the secret as an environment has it that starts now."""
        made = OriginSecret(self.read, lambda: self.now, self.tell, self.later.append)
        made.refresh()
        return made


@pytest.fixture(name="store")
def _store() -> Store:
    return Store(GOOD)


def asked(peer: str = PEER, **headers: str) -> dict[str, Any]:
    """Return an event whose headers are *headers*, with ``_`` for ``-``."""
    event = http_event("OPTIONS", "/v1/track", b"", {name.replace("_", "-"): text for name, text in headers.items()})
    event["requestContext"]["http"]["sourceIp"] = peer
    return event


# ── Nobody goes around it ──────────────────────────────────────────────────────────────────────────


def test_without_a_secret_every_request_is_taken(store: Store) -> None:
    """As ever: nothing is asked for, and what somebody writes into the headers means nothing."""
    event = asked(x_origin_verify="x", x_opportune_host="evil.example", x_forwarded_for=f"1.1.1.1, {PEER}", host="h")
    assert TrustedProxy().identify_client(event) == Client(PEER, "h")
    assert store.reads == 0


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/track"), ("OPTIONS", "/v1/track"), ("GET", "/tag.js")])
def test_a_request_around_cloudfront_is_refused(store: Store, wrong: str, method: str, path: str) -> None:
    """With 403, a code and CORS, whatever it asks for; nobody else hears of it, and a body is not even looked at."""
    site = Site(trusted_proxy=TrustedProxy(secret=store.secret()))
    event = site.event(method, path, json.dumps(win(writeKey="public")).encode(), {"origin": "https://shop.example"})
    event["body"] = "x"  # which is no base64
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
    """Whoever moves his sites sees when the last of them has: then nobody comes directly any more."""
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


def test_a_rotated_secret_is_found_by_who_knew_the_old_one(store: Store) -> None:
    """Both are taken while CloudFront's edges change over; the look-up is one, in the first request with the new."""
    secret = store.secret()
    store.versions = ["n" * 64, GOOD]
    store.now += origin_secret.MIN_INTERVAL_MS
    assert secret.matches(GOOD)
    assert store.reads == 1
    assert [secret.matches(each) for each in ("n" * 64, GOOD, "n" * 64)] == [True] * 3
    assert store.reads == 2
    assert not secret.matches(OLD)


def test_who_starts_during_a_rotation_knows_both(store: Store) -> None:
    """CloudFront still sends the old one."""
    store.versions = [GOOD, OLD]
    secret = store.secret()
    assert (secret.matches(OLD), secret.matches(GOOD), store.reads) == (True, True, 1)


def test_wrong_secrets_do_not_become_calls(store: Store) -> None:
    """A flood of them is one look-up a minute."""
    secret = store.secret()
    for _ in range(1000):
        assert not secret.matches(OLD)
        store.now += 120
    assert store.reads == 1 + 120_000 // origin_secret.MIN_INTERVAL_MS - 1


def test_what_counts_no_more_is_forgotten_within_the_hour(store: Store) -> None:
    """Without a request that waits for it: an old secret that leaked must end some time."""
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
    """What was looked up in the future is looked up again, once."""
    secret = store.secret()
    store.versions = ["n" * 64, GOOD]
    store.now -= 10 * origin_secret.MAX_AGE_MS
    assert [secret.matches(each) for each in ("n" * 64, GOOD, OLD)] == [True, True, False]
    assert (store.reads, store.later) == (2, [])


# ── The secret cannot be had ───────────────────────────────────────────────────────────────────────


def test_without_its_secret_a_new_environment_says_come_again(store: Store) -> None:
    """503, for a tracker drops what gets 403, as who brings none still does. It is looked up again after a pause."""
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


def test_who_knows_the_secret_goes_on_without_secrets_manager(store: Store) -> None:
    """Only something new cannot be judged then, and may come again."""
    secret = store.secret()
    store.away = True
    store.now += origin_secret.MAX_AGE_MS
    assert secret.matches(GOOD)
    store.later.pop()()
    assert secret.matches(GOOD)
    with pytest.raises(Unavailable):
        secret.matches(OLD)
    assert store.told == ["secret_unavailable"]


# ── Whose word counts ──────────────────────────────────────────────────────────────────────────────


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
    """What a client writes into the header itself stands further left, and is not believed; ports are left out."""
    headers = {} if forwarded is None else {"x_forwarded_for": forwarded}
    proxy = TrustedProxy(proxies=proxies, secret=store.secret() if guarded else None)
    assert proxy.identify_client(asked("9.9.9.9", x_origin_verify=GOOD, **headers)).address == address


@pytest.mark.parametrize("wrong", WRONG)
def test_without_the_secret_nobody_names_his_own_address_or_our_host(store: Store, wrong: str) -> None:
    """While sites move, a request that came directly is who API Gateway saw, whatever its headers say."""
    proxy = TrustedProxy(proxies=1, secret=store.secret(), allow_direct=True)
    said = {"x_forwarded_for": f"{VISITOR}, {PEER}", "x_opportune_host": "evil.example", "host": "api.example"}
    assert proxy.identify_client(asked(x_origin_verify=wrong, **said)) == Client(PEER, "api.example")


def test_the_rate_is_the_visitors_and_not_cloudfronts(store: Store) -> None:
    """Each visitor behind one edge has his own; he cannot change it by a header, nor by coming directly."""
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
    """Through CloudFront, not around it: API Gateway knows itself by another name."""
    site = Site(trusted_proxy=TrustedProxy(secret=store.secret(), allow_direct=True))
    known = {"host": "a1.execute-api.example", "x-opportune-host": "events.shop.example"}

    def host(**headers: str) -> str:
        path = "/v1/projects/public/settings"
        response = site.ask("GET", path, b"", {**known, **{k.replace("_", "-"): v for k, v in headers.items()}})
        told: str = json.loads(response["body"])["integrations"]["Segment.io"]["apiHost"]
        return told

    assert host(x_origin_verify=GOOD) == "events.shop.example/v1"
    assert host() == "a1.execute-api.example/v1"
