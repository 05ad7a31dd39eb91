"""Receive webhooks and keep the last ones in memory, for the outbox."""

from collections import deque

from opportune.local.accepted import Accepted, activation
from opportune.local.http_server import HttpServer, Request, Response
from shared.clock import Clock

MAX_KEPT = 200
MAX_BODY_BYTES = 1024 * 1024
# The URL to which the webhook would have gone without the sink.
URL_HEADER = "opportune-url"


class WebhookSink:
    """Responds to every POST on 127.0.0.1 with 204 and checks nothing. *clock* is that of the functions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._accepted: deque[Accepted] = deque(maxlen=MAX_KEPT)
        self._server = HttpServer(
            self._answer,
            port=None,
            max_body=MAX_BODY_BYTES,
            too_large=Response(413),
            failed=Response(500),
        )
        self.url = self._server.url

    def start(self) -> None:
        """Start serving in the background."""
        self._server.start()

    def stop(self) -> None:
        """Stop serving. May be called twice."""
        self._server.stop()

    def accepted(self) -> list[Accepted]:
        """Return the last 200 webhooks, oldest first."""
        return list(self._accepted)

    def _answer(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(405, headers=[("Allow", "POST")])
        headers = {name.lower(): value for name, value in request.headers}
        self._accepted.append(
            Accepted(
                at=self._clock(),
                channel="webhook",
                to=[headers.get(URL_HEADER) or self.url + request.target],
                activation=activation(headers),
                text=request.body.decode("utf-8", "replace"),
                headers=headers,
            )
        )
        return Response(204)
