"""The summary of `events send` has all that the API says of the events: refusals and warnings.

The class: a remark in an answer that the command drops. Its members differ in code, message, number of requests and
place in the answer; one message about several events is one line.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway import tracking
from gateway.body import parse
from opportune.cli.main import app
from opportune.events.send import SendReport
from opportune.local.http_server import HttpServer, Response

NOW = 1_795_416_393_200
UNREADABLE = ("unreadable_time", "'timestamp' is not a time that can be meant: the event counts as now")


def _answer(*warnings: tuple[str, str], rejected: tuple[str, ...] = ()) -> dict[str, Any]:
    content: dict[str, Any] = {"success": True, "messages": []}
    if warnings:
        content["warnings"] = [{"index": 0, "messageId": "m", "code": c, "message": m} for c, m in warnings]
    if rejected:
        content["rejected"] = [{"index": 1, "messageId": None, "code": code, "message": "no"} for code in rejected]
    return content


def _run(tmp_path: Path, content: Mapping[str, Any], *options: str) -> Any:
    """Run `events send` to an endpoint that answers *content*."""
    events = tmp_path / "events.ndjson"
    events.write_text('{"userId": "ana", "event": "win", "timestamp": "2026-11-01T10:00:00Z"}\n')
    answer, failed = Response(200, json.dumps(content).encode()), Response(500)
    server = HttpServer(lambda _: answer, port=None, max_body=10**6, too_large=failed, failed=failed)
    server.start()
    try:
        arguments = ["events", "send", str(events), "--key", "sk_test", "--url", server.url, *options]
        return CliRunner().invoke(app, arguments)
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("warnings", "lines"),
    [
        ((), []),
        ((UNREADABLE,), ["1 accepted with a warning: unreadable_time: 'timestamp' is not a time"]),
        ((UNREADABLE, UNREADABLE), ["2 accepted with a warning: unreadable_time"]),
        ((("other", "[bold]text[/bold]"),), ["1 accepted with a warning: other: [bold]text[/bold]"]),
        ((UNREADABLE, ("other", "x")), ["1 accepted with a warning: unreadable_time", "warning: other: x"]),
    ],
)
def test_warnings_are_printed_and_cost_no_exit_code(
    tmp_path: Path, warnings: tuple[tuple[str, str], ...], lines: list[str]
) -> None:
    """Each warning is one line with its count; the events are accepted, so the exit code is 0."""
    result = _run(tmp_path, _answer(*warnings))
    told = re.sub(r"\s+", " ", result.output)
    assert result.exit_code == 0
    assert [line for line in lines if line not in told] == []
    assert told.count("accepted with a warning") == len(lines)


def test_json_names_each_warning_beside_the_refusals(tmp_path: Path) -> None:
    """Programs get code, message and count; a refusal still makes the exit code 1."""
    result = _run(tmp_path, _answer(UNREADABLE, UNREADABLE, rejected=("no_event_name",)), "--json")
    code, message = UNREADABLE
    summary = json.loads(result.stdout)
    assert summary["warnings"] == [{"code": code, "message": message, "events": 2}]
    assert (summary["rejected"], result.exit_code) == ({"no_event_name": 1}, 1)


def test_requests_add_up() -> None:
    """The same warning in several answers is one warning."""
    sent = SendReport()
    for content in (_answer(UNREADABLE), _answer(), _answer(UNREADABLE, ("other", "x"))):
        sent.add(1, content, 1.0)
    assert sent.warnings == {UNREADABLE: 2, ("other", "x"): 1}


def test_the_gateway_words_the_warning_so() -> None:
    """The warning above is what the Gateway answers, field by field."""
    warnings: list[tracking.Remark] = []
    item = {"type": "track", "userId": "ana", "event": "win", "timestamp": "soon"}
    envelope = tracking.Envelope(NOW, trusted=True, warn=warnings.append)
    tracking.parse_batch(parse(json.dumps({"batch": [item]}).encode()), envelope)
    assert [(each.code, each.message) for each in warnings] == [UNREADABLE]
