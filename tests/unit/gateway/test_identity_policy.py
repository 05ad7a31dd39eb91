"""What a user id is worth, through the Gateway's real handler, for each mode and proof."""

import base64
import itertools
import json
from typing import Any

import pytest

from shared.contracts import Event
from shared.identities import Identification, PopupEvent
from tests.support.identity_edge import NOW, TRAITS, Edge, hashed, proof
from tests.support.lambdas import Context, http_event


@pytest.fixture(name="edge")
def _edge() -> Edge:
    return Edge()


@pytest.mark.parametrize("key", ["wk_off", "wk_log", "sk"])
def test_an_event_is_believed_where_nothing_is_enforced(edge: Edge, key: str) -> None:
    """It counts unchanged, with or without a visitor's id, and even with an invalid proof."""
    for context in ({}, {"identity_token": "x.y.z"}):
        event = edge.event(key, userId="anna", anonymousId="v1", context=context)
        assert (event.user, event.verified) == ("anna", True)


def test_an_unproven_event_counts_for_the_visitor_who_sent_it(edge: Edge) -> None:
    """It does not count for the user, so it cannot change the user's progress or caps."""
    for context in ({}, {"identity_token": "x.y.z"}, proof("wk_other"), proof("wk_enforce", "berta"), hashed("berta")):
        event = edge.event("wk_enforce", userId="anna", anonymousId="v1", context=context)
        assert (event.user, event.verified) == ("anon:v1", False)


def test_an_unproven_event_without_a_visitor_is_refused(edge: Edge) -> None:
    """A single call gets 400, which trackers do not retry. In a batch only the item is rejected."""
    status, answer = edge.post("wk_enforce", "/v1/track", userId="anna", event="win")
    assert (status, answer["code"]) == (400, "unverified_identity")
    assert "identity_token" in answer["message"]
    good = {"type": "track", "event": "win", "userId": "anna", "context": hashed(), "messageId": "good"}
    batch = [{"type": "track", "event": "win", "userId": "anna", "messageId": "bad"}, good]
    status, answer = edge.post("wk_enforce", "/v1/batch", batch=batch)
    assert status == 200
    assert [(each["messageId"], each["code"]) for each in answer["rejected"]] == [("bad", "unverified_identity")]
    assert [each.message_id for each in edge.asked[-1].events] == ["good"]


@pytest.mark.parametrize("context", [proof("wk_enforce"), hashed()], ids=["token", "hash"])
def test_a_proven_event_counts_for_its_user(edge: Edge, context: dict[str, Any]) -> None:
    """The proof may be a token or a hash."""
    event = edge.event("wk_enforce", userId="anna", anonymousId="v1", context=context)
    assert (event.user, event.verified) == ("anna", True)


def test_a_visitor_needs_no_proof_and_reaches_nobody_else(edge: Edge) -> None:
    """A visitor's events are the visitor's. With `enforce`, they do not count for the user the visitor became."""
    assert edge.event("wk_off", anonymousId="v1").verified
    event = edge.event("wk_enforce", anonymousId="v1")
    assert (event.user, event.verified) == ("anon:v1", False)


@pytest.mark.parametrize("path", ["/v1/identify", "/v1/alias", "/v1/group"])
def test_nothing_is_said_about_a_user_without_a_proof(edge: Edge, path: str) -> None:
    """No profile is written and no ids are linked. The response is the same for every user id."""
    body: dict[str, Any] = {"anonymousId": "v1", "traits": TRAITS, "previousId": "v1", "groupId": "g"}
    answers = [edge.post("wk_enforce", path, userId=user, **body) for user in ("anna", "nobody")]
    assert answers[0] == answers[1]
    assert (answers[0][0], answers[0][1]["code"]) == (400, "unverified_identity")
    assert edge.asked == []


def test_who_may_write_what(edge: Edge) -> None:
    """A server may write everything; a proven user what the site allows and the token vouches for; others nothing."""
    vouched = proof("wk_enforce", traits={"plan": "gold"})
    written = {}
    for key, context in (
        ("sk", {}),
        ("wk_off", hashed()),
        ("wk_log", {}),
        ("wk_log", hashed()),
        ("wk_enforce", vouched),
    ):
        edge.asked.clear()
        assert edge.post(key, "/v1/identify", userId="anna", traits=TRAITS, context=context)[0] == 200
        written[key, "identity_token" in context, "user_hash" in context] = [
            each.traits for each in edge.identifications()
        ]
    assert written == {
        ("sk", False, False): [TRAITS],
        ("wk_off", False, True): [],
        ("wk_log", False, False): [],
        ("wk_log", False, True): [{"first_name": "Anna"}],
        ("wk_enforce", True, False): [{"first_name": "Anna", "plan": "gold"}],
    }


def test_a_visitor_becomes_a_user(edge: Edge) -> None:
    """`identify` with both ids and `alias` link them, in order with the events of a batch."""
    for key, context in (("sk", {}), ("wk_off", {}), ("wk_log", {}), ("wk_enforce", hashed())):
        edge.asked.clear()
        win = {"type": "track", "event": "win", "anonymousId": "v1"}
        known: dict[str, Any] = {"userId": "anna", "context": context}
        batch = [win, {"type": "identify", "anonymousId": "v1", **known}, {**win, **known}, win]
        edge.post(key, "/v1/batch", batch=batch)
        edge.post(key, "/v1/alias", previousId="v2", **known)
        assert [(each.user, each.visitor) for each in edge.identifications()] == [
            ("anna", "anon:v1"),
            ("anna", "anon:v2"),
        ]
        first, second = edge.asked
        assert [each.user for each in first.events] == ["anon:v1", "anna", "anon:v1"]
        assert [type(item) for item in first.items] == [Event, Identification, Event, Event]
        assert [type(item) for item in second.items] == [Identification]


def test_an_identify_that_says_nothing_costs_nothing(edge: Edge) -> None:
    """Without a visitor to link or traits to store there is no call. A visitor's own traits are not stored."""
    edge.post("sk", "/v1/identify", userId="anna")
    edge.post("wk_off", "/v1/identify", userId="anna", traits=TRAITS)
    edge.post("wk_off", "/v1/identify", anonymousId="v1", traits=TRAITS)
    assert edge.asked == []


def test_answers_do_not_tell_whether_there_is_such_a_user(edge: Edge) -> None:
    """For each call and proof, status, shape and number of calls are the same for every user id."""
    calls: list[tuple[str, dict[str, Any]]] = [
        ("/v1/track", {"event": "win", "messageId": "m"}),
        ("/v1/track", {"event": "win", "messageId": "m", "anonymousId": "v"}),
        ("/v1/identify", {"traits": TRAITS, "anonymousId": "v"}),
        ("/v1/alias", {"previousId": "v"}),
    ]
    contexts: list[dict[str, Any]] = [
        {},
        {"identity_token": "x.y.z"},
        proof("wk_enforce", "somebody"),
        {"user_hash": "0"},
    ]
    for (path, body), context in itertools.product(calls, contexts):
        seen = []
        for user in ("anna", "nobody", "x" * 256):
            edge.asked.clear()
            status, answer = edge.post("wk_enforce", path, userId=user, context=context, **body)
            events = [(event.user, event.message_id) for request in edge.asked for event in request.events]
            seen.append((status, answer, len(edge.asked), events))
        assert seen[0] == seen[1] == seen[2], (path, context)


def test_where_the_secret_cannot_be_read_nobody_is_believed(edge: Edge) -> None:
    """`enforce` returns 503, and trackers retry; `log` continues. No response names the secret."""
    edge.is_secret_there = False
    status, answer = edge.post("wk_enforce", "/v1/track", userId="anna", event="win", context=proof("wk_enforce"))
    assert (status, answer["code"]) == (503, "identity_unavailable")
    assert "arn" not in json.dumps(answer)
    assert edge.event("wk_log", userId="anna", context=proof("wk_log")).user == "anna"
    assert edge.event("wk_enforce", anonymousId="v1").user == "anon:v1"


def test_unproven_ids_are_counted_and_logged_without_names(
    edge: Edge, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """They are counted by reason, so a site can check before it enforces."""
    edge.event("wk_log", userId="anna")
    edge.event("wk_log", userId="anna", context=proof("wk_log", exp=NOW // 1000 - 3600))
    edge.event("wk_log", userId="anna", context=proof("wk_log"))
    assert [vars(record)["reason"] for record in caplog.records] == ["missing", "expired"]
    assert not [record for record in caplog.records if "anna" in str(vars(record))]
    assert capsys.readouterr().out.count('"IdentitiesUnverified":[1.0]') == 2


def test_a_user_who_sends_too_much_is_told_when_to_come_again(edge: Edge) -> None:
    """A single call gets 429 and `Retry-After`. In a batch only the item is rejected."""
    headers = {"authorization": "Basic " + base64.b64encode(b"wk_off:").decode()}
    body = json.dumps({"userId": "busy", "event": "win"}).encode()
    response = edge.handler(http_event("POST", "/v1/track", body, headers), Context())
    assert (response["statusCode"], json.loads(response["body"])["code"]) == (429, "rate_limited")
    assert response["headers"]["Retry-After"] == "7"
    batch = [{"type": "track", "event": "win", "userId": user, "messageId": user} for user in ("busy", "anna")]
    status, answer = edge.post("wk_off", "/v1/batch", batch=batch)
    assert (status, [(each["messageId"], each["code"]) for each in answer["rejected"]]) == (
        200,
        [("busy", "rate_limited")],
    )


def test_the_tags_reports_are_one_call_and_no_events(edge: Edge) -> None:
    """Reports carry the popup, the action and the time. Without a valid activation there is no call."""
    activation = "0123456789abcdef0123456789abcdef"
    names: dict[str, dict[str, Any]] = {
        "Impression": {},
        "Click": {"action": 1},
        "Dismiss": {"reason": "close"},
        "Error": {"reason": "r" * 99},
    }
    batch = [
        {
            "type": "track",
            "event": f"Opportune {name}",
            "userId": "anna",
            "messageId": f"{activation}:{name}",
            "properties": {"activation": activation, **more},
        }
        for name, more in names.items()
    ]
    assert edge.post("wk_off", "/v1/batch", batch=batch) == (200, {"success": True, "messages": []})
    (request,) = edge.asked
    assert request.items == [
        PopupEvent("anna", activation, "seen", NOW),
        PopupEvent("anna", activation, "clicked", NOW, action="1"),
        PopupEvent("anna", activation, "dismissed", NOW, reason="close"),
        PopupEvent("anna", activation, "failed", NOW, reason="r" * 64),
    ]
    for properties in ({}, {"activation": 7}, {"activation": "x"}, {"activation": activation + "\n"}):
        edge.post("wk_off", "/v1/track", userId="anna", event="Opportune Click", properties=properties)
    assert len(edge.asked) == 1


@pytest.mark.parametrize("action", ["٣", "１２", "html٣", "1\n", "123", "a.b", "$set", -1, 1.5, [1], {"a": 1}, True])
def test_a_report_names_no_field_that_is_not_a_number_of_ours(edge: Edge, action: Any) -> None:
    """It becomes a field of the ledger's row, so only one or two ASCII digits are accepted."""
    properties = {"activation": "0123456789abcdef0123456789abcdef", "action": action}
    edge.post("wk_off", "/v1/track", userId="anna", event="Opportune Click", properties=properties)
    assert [getattr(item, "action", None) for item in edge.asked[0].items] == [""]
