"""The pages where customers unsubscribe: GET shows one, only POST changes anything.

Scanners and previews open every link of an e-mail, so a GET must do nothing. A mail program's own button sends
``List-Unsubscribe=One-Click`` by POST, without a cookie and without following redirects (RFC 8058); the page's button
posts to the same address. What is in a body makes no difference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from aws_lambda_powertools.metrics import MetricUnit

from preferences import pages
from preferences.pages import Page
from shared.errors import Unavailable
from shared.observability import Observability
from shared.signing import Subscription, read_token

PREFIX = "/unsubscribe/"
REASON = "unsubscribed"
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


class OptOuts(Protocol):
    """What customers do not want; see `shared.optouts`. Adding twice changes nothing. Raises `Unavailable`."""

    def add(self, site: str, user: str, channel: str, reason: str) -> object: ...


@dataclass(frozen=True)
class Deps:
    """What the handler works with. ``secret``: what tokens are signed with; ``name``: of a site by its id, or empty."""

    opt_outs: OptOuts
    name: Callable[[str], str]
    secret: str
    observability: Observability


def create_handler(deps: Deps) -> Handler:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
        method: str = event["requestContext"]["http"]["method"]
        path: str = event.get("rawPath") or ""
        token = path.removeprefix(PREFIX) if path.startswith(PREFIX) else ""
        page = _answer(method, read_token(deps.secret, token), deps)
        metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
        return _encode(page, with_body=method != "HEAD")

    bound: Handler = handler  # the decorators lose the type
    return bound


def _answer(method: str, subscription: Subscription | None, deps: Deps) -> Page:
    if method not in ("GET", "HEAD", "POST"):
        return pages.not_allowed()
    if subscription is None:
        return pages.not_found()
    if method != "POST":
        return pages.ask(subscription.channel, deps.name(subscription.site))
    try:
        deps.opt_outs.add(subscription.site, subscription.user, subscription.channel, REASON)
    except Unavailable as error:
        deps.observability.logger.error(  # noqa: TRY400 - expected failures have a code, not a traceback
            "unsubscribe not stored", extra={"site": subscription.site, "code": error.code}
        )
        return pages.unavailable(subscription.channel)
    deps.observability.metrics.add_metric(name="Unsubscribes", unit=MetricUnit.Count, value=1)
    return pages.done(subscription.channel, deps.name(subscription.site))


def _encode(page: Page, *, with_body: bool) -> dict[str, Any]:
    headers = dict(HEADERS)
    if page.status == 405:
        headers["Allow"] = "GET, HEAD, POST"
    if page.status == 503:
        headers["Retry-After"] = "5"
    return {"statusCode": page.status, "headers": headers, "body": page.html if with_body else ""}
