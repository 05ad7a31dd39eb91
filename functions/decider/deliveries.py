"""The two routes to the Engager: a synchronous call for popups and records, the queue for everything else."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from decider.sqs_text import sqs_text
from shared.contracts import Activation, Conversion, Engage, Engaged
from shared.errors import Unavailable
from shared.invoke import Invoke, retry_closed_connection

MAX_BATCH = 10  # entries that SendMessageBatch takes


class AwsDeliveries:
    """`Deliveries` over Lambda and SQS."""

    def __init__(self, engager: Invoke, sqs: Any, queue_url: str) -> None:
        self._engager = engager
        self._sqs = sqs
        self._queue_url = queue_url

    def engage(
        self, activations: Sequence[Activation], conversions: Sequence[Conversion], deadline: int
    ) -> dict[str, dict[str, Any]]:
        """Invoke the Engager once for all of them; return the rendered popups by activation id."""
        response = self._engager(msgspec.json.encode(Engage(list(activations), deadline, list(conversions))))
        return msgspec.json.decode(response, type=Engaged).contents

    def enqueue(self, activations: Sequence[Activation]) -> None:
        """Send *activations* to the queue; raises `Unavailable` unless the queue took all of them."""
        for start in range(0, len(activations), MAX_BATCH):
            entries = [
                {"Id": str(n), "MessageBody": sqs_text(msgspec.json.encode(activation))}
                for n, activation in enumerate(activations[start : start + MAX_BATCH])
            ]
            try:
                response = retry_closed_connection(
                    partial(self._sqs.send_message_batch, QueueUrl=self._queue_url, Entries=entries)
                )
            except (BotoCoreError, ClientError) as error:
                raise Unavailable(f"deliveries queue: {type(error).__name__}", code="queue_unavailable") from error
            if response.get("Failed"):
                raise Unavailable("deliveries queue refused a message", code="queue_unavailable")
