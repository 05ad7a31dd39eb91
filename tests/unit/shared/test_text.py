"""Text from outside that no store and no encoder takes.

The class: half a surrogate pair, or U+0000, in any text that reaches a function without the parser of bodies. Each of
them used to end in an error of the function, which clients and queues retry for ever.
"""

from typing import Any

import pytest
from typer.testing import CliRunner

from engager.mail_events import MailEventRecorder
from opportune.cli.main import app
from shared.errors import InvalidRequest
from tests.support.gateway_site import Site

HALVES = ["\ud800", "a\udfffb", "\udc00\ud800"]


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/pixel/track", {"writeKey": "public", "userId": "{}", "event": "x"}),
        ("/v1/pixel/track", {"writeKey": "public", "userId": "a", "event": "x", "properties.{}": "x"}),
        ("/v1/pixel/track", {"writeKey": "public", "data": "{}"}),
        ("/v1/pixel/track", {"writeKey": "{}", "userId": "a", "event": "x"}),
        ("/sourceConfig", {"writeKey": "{}"}),
        ("/v1/projects/{}/settings", {}),
        ("/{}", {}),
    ],
)
def test_no_address_makes_the_gateway_fail(path: str, query: dict[str, str], half: str) -> None:
    """The response is 400 with a code."""
    query = {name.replace("{}", half): value.replace("{}", half) for name, value in query.items()}
    response = Site().ask("GET", path.replace("{}", half), query=query)
    assert (response["statusCode"], "invalid_character" in response["body"]) == (400, True)


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", ["authorization", "origin", "content-encoding", "sec-gpc", "x-forwarded-for", "host"])
def test_no_header_makes_the_gateway_fail(name: str, half: str) -> None:
    """A header is compared or refused, never encoded."""
    assert Site().ask("POST", "/v1/track", b'{"writeKey": "public"}', {name: half})["statusCode"] in (
        400,
        401,
        403,
        415,
    )


@pytest.mark.parametrize("text", ["!!!!", "e30", "e30=\u00e9", "\ud800"])
def test_a_body_that_is_not_base64_is_refused(text: str) -> None:
    """Characters outside the alphabet are an error, not left out."""
    site = Site()
    event = site.event("POST", "/v1/track", b"{}", {}, {"writeKey": "public"})
    assert site.send({**event, "body": text, "isBase64Encoded": True})["statusCode"] == 400


class _Unused:
    def with_options(self, **_: Any) -> "_Unused":
        return self

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


@pytest.mark.parametrize("text", [*HALVES, "a\0b"])
def test_an_event_of_ses_is_text(text: str) -> None:
    """An id that is not text belongs to no activation. A message id that is not text is an error that ends."""
    unused: Any = _Unused()
    record = MailEventRecorder(unused, unused, lambda: 0)
    mail = {"messageId": "m", "tags": {"activation_id": [text]}}
    assert not record({"detail": {"eventType": "Send", "mail": mail}}).known
    with pytest.raises(InvalidRequest):
        record({"detail": {"eventType": "Send", "mail": {"messageId": text, "tags": {"activation_id": ["a"]}}}})


@pytest.mark.parametrize(
    "arguments", [["forget", "\udcff", "--site", "demo"], ["why", "a\udce9"], ["why", "anna", "\udcff"]]
)
def test_an_argument_that_is_not_utf_8_is_named(arguments: list[str]) -> None:
    """A terminal with another encoding sends bytes that are no text. The command says so, without a traceback."""
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, "is not UTF-8" in result.output) == (2, True)
