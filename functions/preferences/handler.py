"""The pages where customers unsubscribe. GET shows a page; only POST changes anything.

Scanners and previews open every link in an e-mail, so a GET must have no effect. The button of a mail program posts
``List-Unsubscribe=One-Click``, without cookies and without following redirects (RFC 8058). The page's button posts to
the same address. The body makes no difference.
"""

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from preferences import pages
from preferences.pages import Page
from preferences.ports import Deps
from shared.errors import Unavailable
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


def create_handler(deps: Deps) -> Handler:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
        method: str = event["requestContext"]["http"]["method"]
        path: str = event.get("rawPath") or ""
        token = path.removeprefix(PREFIX) if path.startswith(PREFIX) else ""
        page = _select_page(method, read_token(deps.secret, token), deps)
        metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
        return _encode(page, with_body=method != "HEAD")

    bound: Handler = handler  # the decorators lose the type
    return bound


def _select_page(method: str, subscription: Subscription | None, deps: Deps) -> Page:
    if method not in ("GET", "HEAD", "POST"):
        return pages.not_allowed()
    if subscription is None:
        return pages.not_found()
    if method != "POST":
        return pages.ask(subscription.channel, deps.site_name(subscription.site))
    try:
        deps.opt_outs.add(subscription.site, subscription.user, subscription.channel, REASON)
    except Unavailable as error:
        deps.observability.logger.error(  # noqa: TRY400 - expected failures have a code, not a traceback
            "unsubscribe not stored", extra={"site": subscription.site, "code": error.code}
        )
        return pages.unavailable(subscription.channel)
    deps.observability.metrics.add_metric(name="Unsubscribes", unit=MetricUnit.Count, value=1)
    return pages.done(subscription.channel, deps.site_name(subscription.site))


def _encode(page: Page, *, with_body: bool) -> dict[str, Any]:
    headers = dict(HEADERS)
    if page.status == 405:
        headers["Allow"] = "GET, HEAD, POST"
    if page.status == 503:
        headers["Retry-After"] = "5"
    return {"statusCode": page.status, "headers": headers, "body": page.html if with_body else ""}
