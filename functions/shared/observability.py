"""Logger and metrics of a function: made once per function, by its wiring, and passed on.

No personal data is logged: ids of activations and messages, codes and counts only.
"""

from dataclasses import dataclass

from aws_lambda_powertools import Logger, Metrics

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
