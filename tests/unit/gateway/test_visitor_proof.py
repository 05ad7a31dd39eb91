"""What an anonymous id is worth at a site that names a cookie for its proof.

The class of faults: an id that a request only claims counts for the person whose id it is. So each way in which a
message counts for a visitor, or links one to a user, must meet each kind of missing and wrong proof.
"""

import base64
import json
from typing import Any

import jwt
import msgspec
import pytest

from gateway.identity import MAX_TOKEN_LENGTH
from shared.signing import identity_key, user_hash
from tests.support.identity_edge import NOW, SECRET, Edge, hashed, proof

COOKIE = "shop_visitor"
HASH_KEY = identity_key(SECRET, "demo", "hash")
WIN: dict[str, Any] = {"type": "track", "event": "win"}


def digest(visitor: str = "v1") -> str:
    """Return a good hash of *visitor*."""
    return user_hash(HASH_KEY, f"anon:{visitor}")


def token(visitor: str = "v1", key: str = "wk_enforce", **claims: Any) -> str:
    """Return a good token of *visitor*."""
    return str(proof(key, f"anon:{visitor}", **claims)["identity_token"])


def cookie(value: str, name: str = COOKIE) -> str:
    """Return a cookie as API Gateway passes it."""
    return f"{name}={value}"


@pytest.fixture(name="edge")
def _edge() -> Edge:
    return Edge(COOKIE)


GOOD: dict[str, tuple[list[str], dict[str, Any]]] = {
    "hash in the cookie": ([cookie(digest())], {}),
    "token in the cookie": ([cookie(token())], {}),
    "hash in the field": ([], {"anonymous_proof": digest()}),
    "token in the field": ([], {"anonymous_proof": token()}),
    "other cookies": (["a=b", cookie(digest()), "c", "=d", "shop_visitors=x", cookie("x", COOKIE.upper())], {}),
    "joined cookies": ([f"a=b; {cookie(digest())}; c=d"], {}),
    "quoted": ([cookie(f'"{digest()}"')], {}),
    "the same cookie twice": ([cookie(digest()), cookie(digest())], {}),
    "an empty cookie of a wider path": ([cookie(""), cookie(digest())], {}),
    "the field beside another visitor's cookie": ([cookie(digest("v2"))], {"anonymous_proof": digest()}),
    "an empty field": ([cookie(digest())], {"anonymous_proof": ""}),
    "no field": ([cookie(digest())], {"anonymous_proof": None}),
}

BAD: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "missing": ([], {}, "missing"),
    "an empty cookie": ([cookie("")], {}, "missing"),
    "a cookie without a value": ([COOKIE], {}, "missing"),
    "a cookie of another name": ([cookie(digest(), "shop_visitor2")], {}, "missing"),
    "forged": ([cookie("0" * 64)], {}, "invalid"),
    "another visitor's hash": ([cookie(digest("v2"))], {}, "invalid"),
    "another visitor's token": ([cookie(token("v2"))], {}, "other_user"),
    "a user's hash of the same name": ([cookie(user_hash(HASH_KEY, "v1"))], {}, "invalid"),
    "a user's token of the same name": ([cookie(proof("wk_enforce", "v1")["identity_token"])], {}, "other_user"),
    "signed by another key": ([cookie(user_hash(identity_key(SECRET, "demo", "spring"), "anon:v1"))], {}, "invalid"),
    "of another site": ([cookie(user_hash(identity_key(SECRET, "other", "hash"), "anon:v1"))], {}, "invalid"),
    "in capital letters": ([cookie(digest().upper())], {}, "malformed"),
    "half of it": ([cookie(digest()[:32])], {}, "malformed"),
    "an expired token": ([cookie(token(exp=NOW // 1000 - 3600))], {}, "expired"),
    "for another write key": ([cookie(token(key="wk_log"))], {}, "other_audience"),
    "no algorithm": (
        [cookie(jwt.encode({"sub": "anon:v1", "aud": "wk_enforce", "exp": NOW // 1000 + 60}, "", "none"))],
        {},
        "unknown_key",
    ),
    "two cookies": ([cookie(digest()), cookie(digest("v2"))], {}, "several_cookies"),
    "two cookies, joined": ([f"{cookie('x')}; {cookie(digest())}"], {}, "several_cookies"),
    "oversized": ([cookie("a" * (MAX_TOKEN_LENGTH + 1))], {}, "malformed"),
    "odd bytes": ([cookie("é\x00\x80\ud800")], {}, "malformed"),
    "digits of another script": ([cookie("٣" * 64)], {}, "malformed"),
    "a line break behind it": ([], {"anonymous_proof": digest() + "\n"}, "malformed"),
    "a field of another visitor beside a good cookie": (
        [cookie(digest())],
        {"anonymous_proof": digest("v2")},
        "invalid",
    ),
    "a field that is not text": ([cookie(digest())], {"anonymous_proof": {"a": 1}}, "malformed"),
    "a field that is a number": ([cookie(digest())], {"anonymous_proof": 7}, "malformed"),
    "a field that is false": ([cookie(digest())], {"anonymous_proof": False}, "malformed"),
}

# Every call that counts for the visitor, or links the visitor to a user; the user's own proof is good.
CALLS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "track": ("/v1/track", {"event": "win", "anonymousId": "v1"}, {}),
    "page": ("/v1/page", {"name": "Home", "anonymousId": "v1"}, {}),
    "screen": ("/v1/screen", {"name": "Home", "anonymousId": "v1"}, {}),
    "group": ("/v1/group", {"groupId": "g", "anonymousId": "v1"}, {}),
    "identify without a user": ("/v1/identify", {"anonymousId": "v1"}, {}),
    "a report about a popup": (
        "/v1/track",
        {"event": "Opportune Click", "anonymousId": "v1", "properties": {"activation": "0" * 32}},
        {},
    ),
    "an unproven user": ("/v1/track", {"event": "win", "userId": "anna", "anonymousId": "v1"}, {}),
    "login": ("/v1/identify", {"userId": "anna", "anonymousId": "v1", "traits": {"first_name": "A"}}, hashed()),
    "alias": ("/v1/alias", {"userId": "anna", "previousId": "v1"}, hashed()),
}


@pytest.mark.parametrize(("cookies", "context"), GOOD.values(), ids=GOOD)
def test_a_proven_visitor_counts(edge: Edge, cookies: list[str], context: dict[str, Any]) -> None:
    """The proof may be in the cookie or in the field. The field counts if there are both."""
    for path, body, own in CALLS.values():
        assert edge.post("wk_enforce", path, cookies, **body, context={**context, **own})[0] == 200


@pytest.mark.parametrize(("cookies", "context", "reason"), BAD.values(), ids=BAD)
def test_an_unproven_visitor_is_refused(
    edge: Edge, cookies: list[str], context: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The call gets 400, which trackers do not retry, and nothing reaches the Decider. The log has the reason only."""
    for path, body, own in CALLS.values():
        caplog.clear()
        status, answer = edge.post("wk_enforce", path, cookies, **body, context={**context, **own})
        assert (status, answer["code"]) == (400, "unverified_visitor")
        assert "anonymous_proof" in answer["message"]
        assert reason in {vars(record)["reason"] for record in caplog.records}
        logged = str([vars(record) for record in caplog.records])
        assert not [text for text in ("v1", COOKIE, digest(), digest("v2")) if text in logged]
    assert edge.asked == []


def test_the_fields_of_user_ids_prove_no_visitor(edge: Edge) -> None:
    """A proof has to be where it belongs."""
    for context in ({"user_hash": digest()}, {"identity_token": token()}):
        status, answer = edge.post("wk_enforce", "/v1/track", event="win", anonymousId="v1", context=context)
        assert (status, answer["code"]) == (400, "unverified_visitor")


def test_a_proven_visitor_is_still_no_user(edge: Edge) -> None:
    """A proof of the visitor does not prove the user that the visitor became."""
    event = edge.event("wk_enforce", anonymousId="v1", context={"anonymous_proof": digest()})
    assert (event.user, event.verified) == ("anon:v1", False)


def test_a_proven_user_needs_no_visitor(edge: Edge) -> None:
    """The event counts for the user alone, so the anonymous id beside it needs no proof."""
    assert edge.event("wk_enforce", userId="anna", anonymousId="v1", context=hashed()).user == "anna"
    assert edge.post("wk_enforce", "/v1/identify", userId="anna", context=hashed())[0] == 200


def test_a_batch_of_several_visitors(edge: Edge) -> None:
    """The cookie proves one of them, fields prove others. The rest is refused, by item, and the good ones count."""
    items = [
        {**WIN, "messageId": "cookie", "anonymousId": "v1"},
        {**WIN, "messageId": "field", "anonymousId": "v2", "context": {"anonymous_proof": digest("v2")}},
        {**WIN, "messageId": "none", "anonymousId": "v3"},
        {**WIN, "messageId": "another's", "anonymousId": "v3", "context": {"anonymous_proof": digest("v2")}},
        {**WIN, "messageId": "user", "userId": "anna", "anonymousId": "v3", "context": hashed()},
    ]
    status, answer = edge.post("wk_enforce", "/v1/batch", [cookie(digest())], batch=items)
    assert status == 200
    assert [(each["index"], each["messageId"], each["code"]) for each in answer["rejected"]] == [
        (2, "none", "unverified_visitor"),
        (3, "another's", "unverified_visitor"),
    ]
    assert [each.user for each in edge.asked[-1].events] == ["anon:v1", "anon:v2", "anna"]


def test_the_context_of_a_batch_proves_its_items(edge: Edge) -> None:
    """The batch's own field counts for items without one."""
    status, answer = edge.post(
        "wk_enforce",
        "/v1/batch",
        batch=[{**WIN, "anonymousId": "v1"}, {**WIN, "anonymousId": "v2"}],
        context={"anonymous_proof": digest()},
    )
    assert (status, len(answer["rejected"])) == (200, 1)
    assert [each.user for each in edge.asked[-1].events] == ["anon:v1"]


def test_where_no_proof_is_asked_for_nothing_changes() -> None:
    """Without a named cookie, with `off`, and with a secret key, anonymous ids need no proof; cookies are not read."""
    unasked = Edge()
    assert unasked.event("wk_enforce", anonymousId="v1").user == "anon:v1"
    unasked.is_secret_there = False
    assert unasked.event("wk_enforce", anonymousId="v1", cookies=[cookie("x")]).user == "anon:v1"
    asked = Edge(COOKIE)
    asked.is_secret_there = False
    for key in ("wk_off", "sk"):
        assert asked.event(key, anonymousId="v1", cookies=[cookie("x")]).user == "anon:v1"
        assert asked.post(key, "/v1/identify", userId="anna", anonymousId="v1")[0] == 200


def test_log_counts_and_refuses_nothing(edge: Edge, caplog: pytest.LogCaptureFixture) -> None:
    """So a site can look before it enforces."""
    assert edge.event("wk_log", anonymousId="v1").user == "anon:v1"
    assert edge.event("wk_log", anonymousId="v1", cookies=[cookie("x")]).user == "anon:v1"
    assert edge.event("wk_log", anonymousId="v1", cookies=[cookie(digest())]).user == "anon:v1"
    edge.is_secret_there = False
    assert edge.event("wk_log", anonymousId="v1", cookies=[cookie(digest())]).user == "anon:v1"
    assert [vars(record)["reason"] for record in caplog.records] == ["missing", "malformed", "secret_unavailable"]


def test_where_the_secret_cannot_be_read_trackers_retry(edge: Edge) -> None:
    """A proof that cannot be checked is not wrong."""
    edge.is_secret_there = False
    status, answer = edge.post("wk_enforce", "/v1/track", [cookie(digest())], event="win", anonymousId="v1")
    assert (status, answer["code"]) == (503, "identity_unavailable")


@pytest.mark.parametrize("user", ["anna", "nobody", "x" * 256])
def test_the_answer_does_not_depend_on_the_user(edge: Edge, user: str) -> None:
    """An unproven user id beside an unproven visitor gets the same answer, for every name."""
    answer = edge.post("wk_enforce", "/v1/track", event="win", userId=user, anonymousId="v1")
    assert (answer[0], answer[1]["code"]) == (400, "unverified_visitor")


def test_pages_may_send_the_cookie_and_never_get_it_back(edge: Edge) -> None:
    """CORS allows credentials to the page that asks. No response sets or repeats a cookie, refused or not."""
    for value in (digest(), "x"):
        body = {"event": "win", "anonymousId": "v1"}
        response = edge.respond("wk_enforce", "/v1/track", [cookie(value)], body, origin="https://shop.example")
        assert response["headers"]["Access-Control-Allow-Origin"] == "https://shop.example"
        assert response["headers"]["Access-Control-Allow-Credentials"] == "true"
        assert "cookies" not in response
        assert not [name for name in response["headers"] if name.lower() == "set-cookie"]
        assert COOKIE not in json.dumps(response)


def test_the_cookie_goes_no_further(edge: Edge) -> None:
    """The Decider gets neither the cookie that the site names nor any other."""
    cookies = [cookie(digest()), "session=s3cret"]
    assert edge.post("wk_enforce", "/v1/track", cookies, event="win", anonymousId="v1")[0] == 200
    passed_on = msgspec.json.encode(edge.asked)
    assert not [text for text in (digest(), "s3cret", COOKIE) if text.encode() in passed_on]


def test_a_pixel_follows_the_same_rule(edge: Edge) -> None:
    """An image in an e-mail carries no cookie, so it needs the field."""
    query = {"writeKey": "wk_enforce", "event": "win", "anonymousId": "v1"}
    assert edge.pixel(query) == "unverified_visitor"
    data = base64.b64encode(json.dumps({**query, "context": {"anonymous_proof": digest()}}).encode()).decode()
    assert edge.pixel({"data": data}) == ""
