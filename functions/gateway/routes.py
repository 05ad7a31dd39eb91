"""The table of routes. The handler serves it, and the OpenAPI description is built from it.

A path may have parameters in braces, as in ``/tag/{version}/{file}``; each matches anything but a slash. Paths here
have no trailing slash, and requests match with or without one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gateway import endpoints, sdk_compat
from gateway.endpoints import Endpoint
from gateway.openapi import describe
from gateway.pixel import accept_pixel
from gateway.ports import Deps
from gateway.request import Request, Response, json_response
from shared.errors import NotAllowed, NotFound


class Route(NamedTuple):
    """One endpoint with its method and its paths.

    summary: one sentence for the OpenAPI description and docs/edge.md.
    request_schema: name of the body's schema; empty if there is no body.
    response_schema: name of the schema of a successful response.
    """

    method: str
    paths: tuple[str, ...]
    endpoint: Endpoint
    summary: str
    request_schema: str = ""
    response_schema: str = "File"


def _create_call_route(kind: str, summary: str) -> Route:
    """Return the route of calls of *kind*. Segment's browser and mobile libraries use the short path."""
    paths = (f"/v1/{kind}", f"/v1/{kind[0]}")
    return Route("POST", paths, endpoints.create_single_endpoint(kind), summary, kind.capitalize(), "Accepted")


def _serve_description(_: Request, __: Deps) -> Response:
    return json_response(200, describe(ROUTES), {"Cache-Control": "public, max-age=300"})


ROUTES: tuple[Route, ...] = (
    _create_call_route("track", "A user did something."),
    _create_call_route("page", "A user viewed a page: the event Page Viewed."),
    _create_call_route("screen", "A user viewed a screen of an app: the event Screen Viewed."),
    _create_call_route("identify", "A user's id and attributes."),
    _create_call_route("group", "A user belongs to a group."),
    _create_call_route("alias", "Two ids belong to the same user."),
    Route(
        "POST",
        # Segment's older server libraries use `import`. RudderStack's uses `beacon` when the user leaves the page.
        ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"),
        endpoints.accept_batch,
        "Several of these calls. Valid ones are accepted; the response names the others.",
        "Batch",
        "Accepted",
    ),
    Route(
        "GET",
        ("/v1/pixel/{type}",),
        accept_pixel,
        "One of these calls, where only an image can be loaded.",
        response_schema="Image",
    ),
    Route(
        "GET",
        ("/v1/projects/{key}/settings",),
        sdk_compat.serve_segment_settings,
        "Settings that Segment's libraries load first.",
        response_schema="SegmentSettings",
    ),
    Route(
        "GET",
        ("/sourceConfig",),
        sdk_compat.serve_rudder_config,
        "Configuration that RudderStack's browser library loads first.",
        response_schema="SourceConfig",
    ),
    Route(
        "POST",
        ("/v1/m", "/rsaMetrics"),
        sdk_compat.discard_metrics,
        "Metrics that libraries report about themselves; they are discarded.",
        "Any",
        "Success",
    ),
    Route("GET", ("/v1/openapi.json",), _serve_description, "This description.", response_schema="Description"),
    Route("GET", ("/tag.js",), endpoints.serve_tag_loader, "The site tag, for a page to include."),
    Route("GET", ("/tag/{version}/{file}",), endpoints.serve_tag_file, "The files that the site tag loads."),
)


def _accept_posthog(request: Request, deps: Deps) -> Response:
    from gateway.adapters.posthog_endpoint import accept_posthog  # noqa: PLC0415 - most sites need no adapter

    return accept_posthog(request, deps)


def _accept_snowplow(request: Request, deps: Deps) -> Response:
    from gateway.adapters.snowplow_endpoint import accept_snowplow  # noqa: PLC0415

    return accept_snowplow(request, deps)


def _accept_pinpoint(request: Request, deps: Deps) -> Response:
    from gateway.adapters.pinpoint_endpoint import accept_pinpoint  # noqa: PLC0415

    return accept_pinpoint(request, deps)


# For libraries of other products; each works for sites that turn it on. Their makers describe them.
ADAPTER_ROUTES: tuple[Route, ...] = (
    Route("POST", ("/capture", "/batch"), _accept_posthog, "Events of PostHog's libraries."),
    Route("POST", ("/com.snowplowanalytics.snowplow/tp2",), _accept_snowplow, "Events of Snowplow's trackers."),
    Route("POST", ("/v1/apps/{key}/events",), _accept_pinpoint, "PutEvents of Amazon Pinpoint."),
)


class Router:
    """Finds the endpoint of a request."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._exact: dict[str, dict[str, Route]] = {}
        self._patterns: list[tuple[re.Pattern[str], dict[str, Route]]] = []
        patterns: dict[str, dict[str, Route]] = {}
        for route in routes:
            for path in route.paths:
                (patterns if "{" in path else self._exact).setdefault(path, {})[route.method] = route
        for path, methods in patterns.items():
            self._patterns.append((re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path))), methods))

    def find(self, method: str, path: str) -> tuple[Endpoint, Mapping[str, str]]:
        """Return the endpoint and the parameters of *path*; raise `NotFound` or `NotAllowed`."""
        methods, parameters = self._match(path)
        route = methods.get(method)
        if route is None:
            raise NotAllowed(f"{method[:16]} is not allowed at this address", allowed=[*methods, "OPTIONS"])
        return route.endpoint, parameters

    def _match(self, path: str) -> tuple[Mapping[str, Route], Mapping[str, str]]:
        if (methods := self._exact.get(path)) is not None:
            return methods, {}
        for pattern, methods in self._patterns:
            if matched := pattern.fullmatch(path):
                return methods, matched.groupdict()
        raise NotFound("nothing is at this address; send events to /v1/track or /v1/batch")
