"""Requests and answers, free of API Gateway's event format."""

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from gateway.body import Body, inflate, parse
from gateway.trusted_proxy import Client
from gateway.write_keys import presented_key
from shared.errors import InvalidRequest

JSON = "application/json"


class Request(NamedTuple):
    """A request; header names are in lower case, ``path`` is decoded and without the slash at its end.

    ``parameters``: the parts of the path that its route names.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    client: Client
    parameters: Mapping[str, str] = {}

    @property
    def private(self) -> bool:
        """Return whether the browser asks for privacy: Global Privacy Control."""
        return self.headers.get("sec-gpc", "").strip() == "1"

    def parsed(self, limit: int) -> Body:
        """Return the parsed body of at most *limit* bytes, packed or not."""
        return parse(inflate(self.body, self.headers.get("content-encoding", ""), limit))

    def key(self, parsed: Mapping[str, Any]) -> str:
        """Return the write key; *parsed*: the body, which may hold it."""
        return presented_key(self.headers.get("authorization", ""), parsed, self.query)


class Response(NamedTuple):
    """An answer; CORS and caching are the handler's."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = {}


def read(event: Mapping[str, Any], client: Client) -> Request:
    """Return the request in an API Gateway event, payload format 2.0; *client*: who sent it."""
    http = event["requestContext"]["http"]
    path = event.get("rawPath") or "/"
    stage = event["requestContext"].get("stage", "$default")
    if stage != "$default":
        path = path.removeprefix(f"/{stage}")
    raw = event.get("body") or ""
    try:
        packed = base64.b64decode(raw) if event.get("isBase64Encoded") else raw.encode()
    except ValueError as error:  # a lone surrogate, or no base64
        raise InvalidRequest("the body cannot be read", code="malformed_body") from error
    return Request(
        method=http["method"],
        path=path.rstrip("/") or "/",
        headers=event.get("headers") or {},
        query=event.get("queryStringParameters") or {},
        body=packed,
        client=client,
    )


def json_answer(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return *content* as a JSON answer."""
    return Response(status, msgspec.json.encode(content), JSON, headers or {})


def encode(answer: Response) -> dict[str, Any]:
    """Return *answer* as API Gateway wants it; what is no text goes as base64."""
    is_text = answer.content_type.startswith(("text/", JSON)) and "Content-Encoding" not in answer.headers
    return {
        "statusCode": answer.status,
        "headers": {**({"Content-Type": answer.content_type} if answer.body else {}), **answer.headers},
        "body": answer.body.decode() if is_text else base64.b64encode(answer.body).decode(),
        "isBase64Encoded": not is_text,
    }
