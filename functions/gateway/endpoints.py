"""The endpoints of the tracking API: a request in, an answer out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from gateway import tracking
from gateway.body import MAX_BATCH_BYTES, MAX_EVENT_BYTES
from gateway.identity_policy import IdentityPolicy
from gateway.ports import Deps
from gateway.request import Request, Response, json_answer
from gateway.tag import LOADER
from gateway.write_keys import Access
from shared.contracts import Decision, Event, Message
from shared.errors import TooManyRequests

Endpoint = Callable[[Request, Deps], Response]


def single(kind: str) -> Endpoint:
    """Return the endpoint of calls of *kind*, each with one message in its body."""

    def take(request: Request, deps: Deps) -> Response:
        received = deps.clock()
        body = request.parsed(MAX_EVENT_BYTES)
        access = admit(request, body.value, deps)
        message = tracking.read_single(body, kind, envelope(request, access, received, deps))
        decisions = decide(request, access, [message], deps)
        for decision in decisions:
            if decision.after_s:
                raise TooManyRequests(decision.message or "", after_s=decision.after_s, code=decision.code)
        return _answered(decisions)

    return take


def batch(request: Request, deps: Deps) -> Response:
    """Take many messages at once: the good ones; the others are named in the answer."""
    received = deps.clock()
    body = request.parsed(MAX_BATCH_BYTES)
    access = admit(request, body.value, deps)
    taken = tracking.read_batch(body, envelope(request, access, received, deps))
    if taken.refusals:
        deps.observability.metrics.add_metric(name="EventsRefused", unit=MetricUnit.Count, value=len(taken.refusals))
    return _answered(decide(request, access, taken.messages, deps), taken.refusals)


def tag_loader(request: Request, deps: Deps) -> Response:
    """Return the loader of the site tag."""
    return deps.tag.answer(LOADER, "", request.headers.get("accept-encoding", ""))


def tag_file(request: Request, deps: Deps) -> Response:
    """Return a file of one version of the site tag."""
    asked = request.parameters
    return deps.tag.answer(asked["file"], asked["version"], request.headers.get("accept-encoding", ""))


def admit(request: Request, body: Mapping[str, Any], deps: Deps) -> Access:
    """Return what the request's write key opens; raises where it opens nothing, or not for this page, or not now.

    The rate comes before the events are read and ids are proven: who sends too much costs little.
    """
    access = deps.decisions.admit(request.key(body))
    access.check_origin(request.headers.get("origin", ""))
    if not access.secret:
        items = body.get("batch")
        events = len(items) if isinstance(items, list) else 1
        deps.rates.take(access.key.sha256, request.client.address, max(1, min(events, tracking.MAX_BATCH_EVENTS)))
    return access


def envelope(request: Request, access: Access, received: int, deps: Deps, *, mute: str = "") -> tracking.Envelope:
    """Return what the request says of all its messages. *mute*: why no answer to it can hold a popup."""
    logger, metrics = deps.observability.logger, deps.observability.metrics

    def tell(reason: str, times: int) -> None:
        """Count a user id that was not proven, and log why: never whose it is."""
        metrics.add_metric(name="IdentitiesUnverified", unit=MetricUnit.Count, value=1)
        if times == 1:
            logger.info("user id not proven", extra={"reason": reason})

    return tracking.Envelope(
        received,
        trusted=access.secret,
        mute="gpc" if request.private else mute,
        settle=IdentityPolicy(access, received, deps.identity_secret, tell).settle,
    )


def decide(request: Request, access: Access, messages: Sequence[Message], deps: Deps) -> list[Decision]:
    """Pass *messages* on.

    Under Global Privacy Control only what happened is passed on, not who somebody is: nothing is added to a profile.
    """
    if request.private:
        messages = [message for message in messages if isinstance(message, Event)]
    decisions = deps.decisions.decide(access, messages)
    metrics = deps.observability.metrics
    metrics.add_metric(name="EventsReceived", unit=MetricUnit.Count, value=len(messages))
    metrics.add_metric(name="EventsRelevant", unit=MetricUnit.Count, value=len(decisions))
    return decisions


def _answered(decisions: Sequence[Decision], refusals: Sequence[tracking.RejectedItem] = ()) -> Response:
    """Success is exactly 200: trackers retry anything else. Refused items are named in the answer."""
    content: dict[str, Any] = {
        "success": True,
        "messages": [message for decision in decisions for message in decision.messages],
    }
    rejected = [{"index": r.place, "messageId": r.message_id, "code": r.code, "message": r.message} for r in refusals]
    rejected += [
        {"messageId": d.message_id, "code": d.code, "message": d.message} for d in decisions if d.code is not None
    ]
    if rejected:
        content["rejected"] = rejected
    return json_answer(200, content)
