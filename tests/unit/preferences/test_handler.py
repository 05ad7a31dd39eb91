"""The unsubscribe pages: GET asks, POST unsubscribes, and nothing identifies the customer."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from preferences.handler import create_handler
from preferences.ports import Deps
from shared.errors import Unavailable
from shared.observability import observe
from shared.signing import unsubscribe_token
from tests.support.lambdas import Context, http_event

SECRET = "a secret of thirty-two letters.."
USER = "ada-lovelace-1815"


@dataclass
class FakeOptOuts:
    """Opt-outs in memory. ``away``: adding one fails."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    away: bool = False

    def add(self, site: str, user: str, channel: str, reason: str) -> None:
        """Store an opt-out."""
        if self.away:
            raise Unavailable("MongoDB: down", code="database_unavailable")
        self.rows.append((site, user, channel, reason))


@pytest.fixture(name="opt_outs")
def _opt_outs() -> FakeOptOuts:
    return FakeOptOuts()


Visit = Callable[..., dict[str, Any]]


@pytest.fixture(name="visit")
def _visit(opt_outs: FakeOptOuts) -> Visit:
    names = {"shop": "Tom & Jerry's <shop>"}
    handler = create_handler(Deps(opt_outs, lambda site: names.get(site, ""), SECRET, observe("preferences")))

    def visit(method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        return handler(http_event(method, path, body), Context())

    return visit


def link(channel: str = "email", site: str = "shop") -> str:
    """Return the path of an unsubscribe link."""
    return f"/unsubscribe/{unsubscribe_token(SECRET, site, USER, channel)}"


def test_a_get_asks_and_changes_nothing(visit: Visit, opt_outs: FakeOptOuts) -> None:
    """Scanners that open every link have no effect. The page has one form, which posts to its own address."""
    answer = visit("GET", link())
    assert answer["statusCode"] == 200
    assert answer["body"].count("<form") == 1
    assert '<form method="post"><button type="submit">Unsubscribe</button></form>' in answer["body"]
    assert "e-mails" in answer["body"]
    assert opt_outs.rows == []


@pytest.mark.parametrize("body", [b"", b"List-Unsubscribe=One-Click", b"\xff\xfe", b"anything=else"])
def test_a_post_unsubscribes_whatever_is_in_it(visit: Visit, opt_outs: FakeOptOuts, body: bytes) -> None:
    """The page's button and the button of a mail program both post. The response is 200, without redirect or form."""
    answer = visit("POST", link(), body)
    assert answer["statusCode"] == 200
    assert "You are unsubscribed" in answer["body"]
    assert not re.search(r"<(form|button|a|input)\b", answer["body"])
    assert opt_outs.rows == [("shop", USER, "email", "unsubscribed")]


def test_a_repeated_post_answers_the_same(visit: Visit) -> None:
    """A second click shows the same page."""
    assert visit("POST", link()) == visit("POST", link())


@pytest.mark.parametrize(("channel", "word"), [("sms", "text messages"), ("push", "notifications"), ("x", "messages")])
def test_the_page_names_what_ends(visit: Visit, opt_outs: FakeOptOuts, channel: str, word: str) -> None:
    """It names the channel in plain words, and the site, or "us" without a name. Only that channel ends."""
    for method in ("GET", "POST"):
        assert f"no more {word} from Tom &amp; Jerry&#x27;s &lt;shop&gt;." in visit(method, link(channel))["body"]
    assert f"no more {word} from us." in visit("GET", link(channel, "other"))["body"]
    assert opt_outs.rows == [("shop", USER, channel, "unsubscribed")]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_bad_token_is_one_page_for_all_reasons(visit: Visit, opt_outs: FakeOptOuts, method: str) -> None:
    """Unknown, incomplete, changed, foreign or missing: status, headers and body are the same."""
    foreign = unsubscribe_token("x" * 32, "shop", USER, "email")
    paths = ["/", "/unsubscribe", "/unsubscribe/", f"{link()[:-1]}", f"{link()}x", f"/unsubscribe/{foreign}", "/admin"]
    paths += [f"{link()}/", "/unsubscribe/../x", "/unsubscribe/%00", f"/x{link()}"]
    answers = [visit(method, path) for path in paths]
    assert {answer["statusCode"] for answer in answers} == {404}
    assert all(answer == answers[0] for answer in answers)
    assert opt_outs.rows == []


def test_a_head_is_a_get_without_a_body(visit: Visit, opt_outs: FakeOptOuts) -> None:
    """It has the same status and headers, and no effect."""
    for path in (link(), "/unsubscribe/none"):
        head, get = visit("HEAD", path), visit("GET", path)
        assert (head["statusCode"], head["headers"]) == (get["statusCode"], get["headers"])
        assert head["body"] == ""
    assert opt_outs.rows == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_refused(visit: Visit, opt_outs: FakeOptOuts, method: str) -> None:
    """The response is 405 with the allowed methods."""
    answer = visit(method, link())
    assert (answer["statusCode"], answer["headers"]["Allow"]) == (405, "GET, HEAD, POST")
    assert opt_outs.rows == []


def test_what_could_not_be_stored_is_not_called_done(visit: Visit, opt_outs: FakeOptOuts) -> None:
    """Without the database the response is 503, and the page's button retries."""
    opt_outs.away = True
    answer = visit("POST", link(), b"List-Unsubscribe=One-Click")
    assert (answer["statusCode"], answer["headers"]["Retry-After"]) == (503, "5")
    assert "You are unsubscribed" not in answer["body"]
    assert "<form" in answer["body"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT"])
@pytest.mark.parametrize("path", [link(), "/unsubscribe/none"])
def test_every_answer_is_closed_to_everything(visit: Visit, method: str, path: str) -> None:
    """The headers forbid caching, loading, framing, indexing and referrers. No cookie, script or other host is used."""
    answer = visit(method, path)
    headers = answer["headers"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    policy = [part.strip() for part in headers["Content-Security-Policy"].split(";")]
    assert policy[:3] == ["default-src 'none'", "style-src 'unsafe-inline'", "form-action 'self'"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Robots-Tag"] == "noindex"
    assert "Set-Cookie" not in headers
    assert "cookies" not in answer
    assert "<script" not in answer["body"]
    assert "http" not in answer["body"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_user_is_nowhere_in_answer_or_log(visit: Visit, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither the page nor the log contains a user id or a token."""
    path = link()
    answer = json.dumps(visit(method, path))
    logged = capsys.readouterr()
    for secret in (USER, path.rpartition("/")[2], base64.b64encode(USER.encode()).decode()[:16]):
        assert secret not in answer + logged.out + logged.err


def test_the_page_suits_light_and_dark(visit: Visit) -> None:
    """The page adapts to the colour scheme and the width."""
    body = visit("GET", link())["body"]
    assert "prefers-color-scheme: dark" in body
    assert '<meta name="viewport"' in body
    assert '<html lang="en">' in body
