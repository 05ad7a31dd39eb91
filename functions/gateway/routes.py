"""The Gateway's addresses: one table, which the handler serves and the API's description is made from.

A path may have parts in braces, ``/tag/{version}/{file}``, which match anything but a slash. Paths are written
without a slash at their end, and found with one too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gateway import endpoints, sdk_compat
from gateway.endpoints import Endpoint
from gateway.openapi import describe
from gateway.pixel import pixel
from gateway.ports import Deps
from gateway.request import Request, Response, json_answer
from shared.errors import NotAllowed, NotFound


class Route(NamedTuple):
    """An address: *endpoint* answers *method* at each of *paths*. ``summary``: what it is for, in a sentence.

    ``takes``, ``gives``: what its body and its success are called in the API's description.
    """

    method: str
    paths: tuple[str, ...]
    endpoint: Endpoint
    summary: str
    takes: str = ""
    gives: str = "File"


def _call(kind: str, summary: str) -> Route:
    """Return the route of calls of *kind*; the short path is that of Segment's browser and mobile libraries."""
    paths = (f"/v1/{kind}", f"/v1/{kind[0]}")
    return Route("POST", paths, endpoints.single(kind), summary, kind.capitalize(), "Taken")


def _described(_: Request, __: Deps) -> Response:
    return json_answer(200, describe(ROUTES), {"Cache-Control": "public, max-age=300"})


ROUTES: tuple[Route, ...] = (
    _call("track", "A user did something."),
    _call("page", "A user saw a page: the event Page Viewed."),
    _call("screen", "A user saw a screen of an app: the event Screen Viewed."),
    _call("identify", "Who a user is, and what is known of him."),
    _call("group", "A user belongs to a group."),
    _call("alias", "Two ids are the same user's."),
    Route(
        "POST",
        # Also that of Segment's older server libraries, and that of RudderStack's when a page is left.
        ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"),
        endpoints.batch,
        "Many of these at once: good ones are taken, others are named.",
        "Batch",
        "Taken",
    ),
    Route("GET", ("/v1/pixel/{type}",), pixel, "One of these where only an image can be sent.", gives="Image"),
    Route(
        "GET",
        ("/v1/projects/{key}/settings",),
        sdk_compat.segment_settings,
        "What Segment's libraries ask for first.",
        gives="SegmentSettings",
    ),
    Route(
        "GET",
        ("/sourceConfig",),
        sdk_compat.rudder_source_config,
        "What RudderStack's browser library asks for first.",
        gives="SourceConfig",
    ),
    Route(
        "POST",
        ("/v1/m", "/rsaMetrics"),
        sdk_compat.dropped,
        "What libraries report about themselves: dropped.",
        "Any",
        "Success",
    ),
    Route("GET", ("/v1/openapi.json",), _described, "This description.", gives="Description"),
    Route("GET", ("/tag.js",), endpoints.tag_loader, "The site tag: what a page includes."),
    Route("GET", ("/tag/{version}/{file}",), endpoints.tag_file, "What the site tag loads."),
)


class Table:
    """Finds the route of a request."""

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
        """Return the endpoint and the named parts of *path*; raises `NotFound` or `NotAllowed`."""
        methods, parameters = self._at(path)
        route = methods.get(method)
        if route is None:
            raise NotAllowed(f"{method[:16]} is not taken here", allowed=[*methods, "OPTIONS"])
        return route.endpoint, parameters

    def _at(self, path: str) -> tuple[Mapping[str, Route], Mapping[str, str]]:
        if (methods := self._exact.get(path)) is not None:
            return methods, {}
        for pattern, methods in self._patterns:
            if matched := pattern.fullmatch(path):
                return methods, matched.groupdict()
        raise NotFound("there is nothing at this address; events go to /v1/track or /v1/batch")
