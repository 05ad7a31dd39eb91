"""The Gateway's addresses: one table, which the handler serves and the API's description is made from.

A path may have parts in braces, ``/tag/{version}/{file}``, which match anything but a slash. Paths are written
without a slash at their end, and found with one too.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gateway import endpoints, libraries
from gateway.endpoints import Endpoint
from gateway.pixel import pixel
from shared.errors import NotAllowed, NotFound


class Route(NamedTuple):
    """An address: *endpoint* answers *method* at each of *paths*. ``summary``: what it is for, in a sentence."""

    method: str
    paths: tuple[str, ...]
    endpoint: Endpoint
    summary: str


# The short paths are those of Segment's browser and mobile libraries, import that of its older server libraries.
ROUTES: tuple[Route, ...] = (
    Route("POST", ("/v1/track", "/v1/t"), endpoints.single("track"), "A user did something."),
    Route("POST", ("/v1/page", "/v1/p"), endpoints.single("page"), "A user saw a page."),
    Route("POST", ("/v1/screen", "/v1/s"), endpoints.single("screen"), "A user saw a screen of an app."),
    Route("POST", ("/v1/identify", "/v1/i"), endpoints.single("identify"), "Who a user is, and what is known of him."),
    Route("POST", ("/v1/group", "/v1/g"), endpoints.single("group"), "A user belongs to a group."),
    Route("POST", ("/v1/alias", "/v1/a"), endpoints.single("alias"), "Two ids are the same user's."),
    Route("POST", ("/v1/batch", "/v1/b", "/v1/import", "/beacon/v1/batch"), endpoints.batch, "Many of these at once."),
    Route("GET", ("/v1/pixel/{type}",), pixel, "One of these as an image, where nothing else can be sent."),
    Route("GET", ("/v1/projects/{key}/settings",), libraries.segment_settings, "For Segment's libraries, at first."),
    Route("GET", ("/sourceConfig",), libraries.rudder_source_config, "For RudderStack's library, at first."),
    Route("POST", ("/v1/m", "/rsaMetrics"), libraries.dropped, "Libraries' reports about themselves; dropped."),
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
