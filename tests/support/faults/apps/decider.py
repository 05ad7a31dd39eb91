"""The Decider, to be killed."""

import json
import os
from dataclasses import replace
from typing import Any, cast

from decider.handler import create_handler
from decider.wiring import build
from shared.settings import DECIDER
from tests.support.faults.apps.settings import settings
from tests.support.faults.points import DELAYED, Points, Tripwire, folder_of


class DelayedMessages:
    """Wraps the client of SQS: `Bells` delivers delayed messages by the clock of the tests, not by that of SQS."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def send_message(self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int) -> None:  # noqa: N803 - boto3's names
        """Send a message."""
        if not DelaySeconds:
            self._inner.send_message(QueueUrl=QueueUrl, MessageBody=MessageBody)
            return
        due = deps.clock() + 1000 * DelaySeconds
        with (folder_of(os.environ) / DELAYED).open("a", encoding="utf-8") as file:
            file.write(json.dumps([due, MessageBody]) + "\n")


points = Points(folder_of(os.environ), DECIDER)
deps = build(settings(DECIDER))
states: Any = Tripwire(deps.states, points, "apply", "claim")
deliveries: Any = Tripwire(deps.deliveries, points, "engage", "enqueue")
doorbells: Any = Tripwire(deps.doorbells, points, "schedule_doorbell")
deps.doorbells._sqs = DelayedMessages(deps.doorbells._sqs)  # type: ignore[attr-defined]
deps = replace(deps, states=states, deliveries=deliveries, doorbells=doorbells)
handler = points.around(cast("Any", create_handler(deps)), lambda event: event.get("type") == "decide")
