"""Logger and metrics of a function: made once per function, by its wiring, and passed on.

No personal data is logged: ids of activations and messages, codes and counts only.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from aws_lambda_powertools import Logger, Metrics

from shared.errors import OpportuneError

NAMESPACE = "Opportune"


@dataclass(frozen=True)
class Observability:
    """What a handler logs and counts with."""

    logger: Logger
    metrics: Metrics


def observe(function: str) -> Observability:
    """Return the logger and the metrics of *function*."""
    return Observability(
        logger=Logger(service=function),
        metrics=Metrics(namespace=NAMESPACE, service=function),
    )


def log_redelivery(logger: Logger, what: str, error: BaseException, message_id: str) -> None:
    """Log why a message of a queue comes again.

    Of an expected failure its code; of a bug where it is, without its words, which may quote a customer.
    """
    extra = {"sqs_message_id": message_id}
    if isinstance(error, OpportuneError):
        logger.warning("%s handed back to the queue", what, extra={"code": error.code, **extra})
    else:
        where = traceback.extract_tb(error.__traceback__)[-1]
        bug = {"code": type(error).__name__, "at": f"{where.filename}:{where.lineno}"}
        logger.error("%s handed back to the queue", what, extra={**bug, **extra})


@contextmanager
def log_failure(logger: Logger) -> Iterator[None]:
    """Log the code and the reason of an expected failure, which goes on: what Lambda logs of it has no code."""
    try:
        yield
    except OpportuneError as error:
        extra = {"code": error.code, "reason": error.message}
        logger.error("request failed", extra=extra)  # noqa: TRY400 - expected failures have a code, not a traceback
        raise
