"""The endpoints of the tracking API: each turns a request into a response."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from gateway import tracking
from gateway.body import MAX_BATCH_BYTES, MAX_EVENT_BYTES
from gateway.identity_policy import IdentityPolicy
from gateway.ports import Deps
from gateway.request import Request, Response, json_response
from gateway.tag import LOADER
from gateway.write_keys import SiteAccess
from shared.contracts import Decision, Event, Message
from shared.errors import TooManyRequests

Endpoint = Callable[[Request, Deps], Response]


def create_single_endpoint(kind: str) -> Endpoint:
    """Return the endpoint of calls of *kind*, which have one message in their body."""

    def accept_single(request: Request, deps: Deps) -> Response:
        received = deps.clock()
        body = request.parse_body(MAX_EVENT_BYTES)
        access = authenticate(request, body.value, deps)
        own = tracking.choose_kind(body.value, kind)
        warnings: list[tracking.Remark] = []
        message = tracking.parse_single(body, own, build_envelope(request, access, received, deps, warnings))
        decisions = decide(request, access, [message], deps)
        for decision in decisions:
            if decision.retry_after_s:
                raise TooManyRequests(decision.message or "", after_s=decision.retry_after_s, code=decision.code)
        return _respond(decisions, warnings=warnings if access.trusted else ())

    return accept_single


def accept_batch(request: Request, deps: Deps) -> Response:
    """Accept the valid items of a batch and name the others in the response."""
    received = deps.clock()
    body = request.parse_body(MAX_BATCH_BYTES)
    access = authenticate(request, body.value, deps)
    warnings: list[tracking.Remark] = []
    parsed = tracking.parse_batch(body, build_envelope(request, access, received, deps, warnings))
    if parsed.rejected:
        deps.observability.metrics.add_metric(name="EventsRefused", unit=MetricUnit.Count, value=len(parsed.rejected))
    decisions = decide(request, access, parsed.messages, deps)
    return _respond(decisions, parsed.rejected, warnings if access.trusted else ())


def serve_tag_loader(request: Request, deps: Deps) -> Response:
    """Return the loader of the site tag."""
    return deps.tag.serve(LOADER, "", request.headers.get("accept-encoding", ""))


def serve_tag_file(request: Request, deps: Deps) -> Response:
    """Return a file of one version of the site tag."""
    parts = request.parameters
    return deps.tag.serve(parts["file"], parts["version"], request.headers.get("accept-encoding", ""))


def authenticate(request: Request, body: Mapping[str, Any], deps: Deps) -> SiteAccess:
    """Return the site that the request's write key belongs to; *body* may hold the key.

    Raises `Unauthorized`, `Forbidden` (the key is not for this page) or `TooManyRequests`. The rate is checked before
    events are parsed and proofs are verified, so refused requests cost little.
    """
    access = deps.decider.authenticate(request.read_write_key(body))
    access.check_origin(request.headers.get("origin", ""))
    if not access.trusted:
        items = body.get("batch")
        events = len(items) if isinstance(items, list) else 1
        deps.rate_limiter.acquire(
            access.key.sha256, request.client.address, max(1, min(events, tracking.MAX_BATCH_EVENTS))
        )
    return access


def build_envelope(
    request: Request,
    access: SiteAccess,
    received: int,
    deps: Deps,
    warnings: list[tracking.Remark] | None = None,
    *,
    popup_block_reason: str = "",
) -> tracking.Envelope:
    """Return what applies to every message of the request.

    warnings: gets the warnings about its items.
    popup_block_reason: why the response cannot hold a popup; empty if it can.
    """
    logger, metrics = deps.observability.logger, deps.observability.metrics

    def record_unverified(reason: str, times: int) -> None:
        """Count an id without a valid proof. Log the reason once per request, and never the id."""
        metrics.add_metric(name="IdentitiesUnverified", unit=MetricUnit.Count, value=1)
        if times == 1:
            logger.info("id not proven", extra={"reason": reason})

    def warn(remark: tracking.Remark) -> None:
        metrics.add_metric(name="TimesUnreadable", unit=MetricUnit.Count, value=1)
        if warnings is not None:
            warnings.append(remark)

    return tracking.Envelope(
        received,
        trusted=access.trusted,
        popup_block_reason="gpc" if request.private else popup_block_reason,
        apply_identity=IdentityPolicy(access, received, deps.identity_secret, record_unverified, request.cookies).apply,
        warn=warn,
    )


def decide(request: Request, access: SiteAccess, messages: Sequence[Message], deps: Deps) -> list[Decision]:
    """Return the Decider's decisions about the events among *messages* that a live trigger uses.

    Under Global Privacy Control only events are passed on, so no profile is written and no ids are linked.
    """
    if request.private:
        messages = [message for message in messages if isinstance(message, Event)]
    decisions = deps.decider.decide(access, messages)
    metrics = deps.observability.metrics
    metrics.add_metric(name="EventsReceived", unit=MetricUnit.Count, value=len(messages))
    metrics.add_metric(name="EventsRelevant", unit=MetricUnit.Count, value=len(decisions))
    return decisions


def _respond(
    decisions: Sequence[Decision],
    rejected_items: Sequence[tracking.Remark] = (),
    warnings: Sequence[tracking.Remark] = (),
) -> Response:
    """Return 200 with popups, rejected items and warnings. Trackers retry anything but 200."""
    content: dict[str, Any] = {
        "success": True,
        "messages": [message for decision in decisions for message in decision.messages],
    }
    refused = [tracking.Remark(None, d.message_id, d.code, d.message or "") for d in decisions if d.code is not None]
    for name, remarks in (("rejected", [*rejected_items, *refused]), ("warnings", warnings)):
        if remarks:
            content[name] = [_describe(remark) for remark in remarks]
    return json_response(200, content)


def _describe(remark: tracking.Remark) -> dict[str, Any]:
    index = {} if remark.position is None else {"index": remark.position}
    return {**index, "messageId": remark.message_id, "code": remark.code, "message": remark.message}
