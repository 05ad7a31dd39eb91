"""The payloads in `events/`: what each entry point gets, taken by the function whose name it begins with."""

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
def test_each_event_is_taken_by_its_function(path: Path, system: System) -> None:
    """The handler understands it: no failure, no message handed back, nothing refused as malformed."""
    client = aws.client("lambda", system.stack.lambda_url)
    answer = client.invoke(FunctionName=path.stem.partition("-")[0], Payload=path.read_bytes())
    told: Any = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, told
    assert told.get("batchItemFailures", []) == []
    if "statusCode" in told:
        assert told["statusCode"] in (200, 204, 404), told
        assert (told["statusCode"] == 404) == path.stem.startswith("preferences")


def test_every_way_into_a_function_has_an_event() -> None:
    """Each function has one, and each queue, schedule, rule and request that the template names."""
    names = {path.stem for path in EVENTS}
    assert {name.partition("-")[0] for name in names} == FUNCTIONS.keys()
    assert names >= {"decider-wake", "decider-doorbells", "engager-sweep", "engager-deliveries", "engager-mail-event"}
    assert names >= {"gateway-track", "refresher-daily", "preferences-get"}


def test_every_event_is_shown_where_deploying_is_explained() -> None:
    """The document lists them, and none that is not there."""
    document = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    for path in EVENTS:
        assert f"`{path.stem}`" in document, path.stem
