"""Hand activations over: what has no effect outside to the Engager at once, all else to the queue of deliveries."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from shared.contracts import Activation, Engage, Engaged
from shared.errors import Unavailable
from shared.invoke import Invoke

BATCH = 10  # what SendMessageBatch takes


class Dispatch(Protocol):
    """The two ways out of the Decider."""

    def engage(self, activations: Sequence[Activation], deadline: int) -> dict[str, dict[str, Any]]: ...
    def queue(self, activations: Sequence[Activation]) -> None: ...


class AwsDispatch:
    """`Dispatch` over Lambda and SQS."""

    def __init__(self, engager: Invoke, sqs: Any, queue_url: str) -> None:
        self._engager = engager
        self._sqs = sqs
        self._queue_url = queue_url

    def engage(self, activations: Sequence[Activation], deadline: int) -> dict[str, dict[str, Any]]:
        """Return the rendered popups by activation id, the rest is recorded; one invocation for all of them."""
        answer = self._engager(msgspec.json.encode(Engage(list(activations), deadline)))
        return msgspec.json.decode(answer, type=Engaged).contents

    def queue(self, activations: Sequence[Activation]) -> None:
        """Send *activations* to the queue; raises `Unavailable` when it did not take them all."""
        for start in range(0, len(activations), BATCH):
            entries = [
                {"Id": str(n), "MessageBody": _body(activation)}
                for n, activation in enumerate(activations[start : start + BATCH])
            ]
            try:
                answer = self._sqs.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
            except (BotoCoreError, ClientError) as error:
                raise Unavailable(f"deliveries queue: {type(error).__name__}", code="queue_unavailable") from error
            if answer.get("Failed"):
                raise Unavailable("deliveries queue refused a message", code="queue_unavailable")


def _body(activation: Activation) -> str:
    """Return *activation* as JSON in characters that SQS takes: all of Unicode but U+FFFE and U+FFFF."""
    text = msgspec.json.encode(activation).decode()
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
