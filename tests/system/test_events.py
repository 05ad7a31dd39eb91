"""The payloads in `events/`: one for each entry point, handled by the function that its name begins with."""

import json
from pathlib import Path
from typing import Any

import pytest

from opportune.local import aws
from opportune.local.functions import FUNCTIONS
from tests.support.paths import ROOT
from tests.support.whole_system import System

EVENTS = sorted((ROOT / "events").glob("*.json"))


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_each_function_handles_its_events(path: Path, system: System) -> None:
    """The function handles the event: no failure, no message returned to the queue, nothing rejected as malformed."""
    client = aws.client("lambda", system.stack.lambda_url)
    answer = client.invoke(FunctionName=path.stem.partition("-")[0], Payload=path.read_bytes())
    result: Any = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, result
    assert result.get("batchItemFailures", []) == []
    if "statusCode" in result:
        assert result["statusCode"] in (200, 204, 404), result
        assert (result["statusCode"] == 404) == path.stem.startswith("preferences")


def test_every_entry_point_has_an_event() -> None:
    """Each function has an event, and so has each queue, schedule, rule and request in the template."""
    names = {path.stem for path in EVENTS}
    assert {name.partition("-")[0] for name in names} == FUNCTIONS.keys()
    assert names >= {"decider-wake", "decider-doorbells", "engager-sweep", "engager-deliveries", "engager-mail-event"}
    assert names >= {"gateway-track", "refresher-daily", "preferences-get"}


def test_the_deployment_guide_lists_every_event() -> None:
    """docs/deploy.md lists all events."""
    document = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    for path in EVENTS:
        assert f"`{path.stem}`" in document, path.stem
