"""Requests and responses, independent of API Gateway's event format."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from gateway.body import Body, decompress, parse
from gateway.trusted_proxy import Client
from gateway.write_keys import read_write_key
from shared.errors import InvalidRequest
from shared.text import is_encodable

JSON = "application/json"


class Request(NamedTuple):
    """An HTTP request.

    path: decoded, without a trailing slash.
    headers: by lower-case name.
    parameters: the parts of the path that its route names.
    cookies: ``name=value`` each. Only `gateway.visitor_proof` reads them, and only one that the site names.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    client: Client
    parameters: Mapping[str, str] = {}
    cookies: Sequence[str] = ()

    @property
    def private(self) -> bool:
        """Return whether the browser sends Global Privacy Control."""
        return self.headers.get("sec-gpc", "").strip() == "1"

    def parse_body(self, limit: int) -> Body:
        """Return the parsed body, decompressed to at most *limit* bytes."""
        return parse(decompress(self.body, self.headers.get("content-encoding", ""), limit))

    def read_write_key(self, body: Mapping[str, Any]) -> str:
        """Return the write key from the headers, the parsed *body* or the query."""
        return read_write_key(self.headers.get("authorization", ""), body, self.query)


class Response(NamedTuple):
    """An HTTP response. The handler adds the CORS headers."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: Mapping[str, str] = {}


def decode(event: Mapping[str, Any], client: Client) -> Request:
    """Return the request in an API Gateway event (payload format 2.0) from *client*."""
    http = event["requestContext"]["http"]
    path = event.get("rawPath") or "/"
    stage = event["requestContext"].get("stage", "$default")
    if stage != "$default":
        path = path.removeprefix(f"/{stage}")
    text = event.get("body") or ""
    try:
        body = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else text.encode()
    except ValueError as error:  # a lone surrogate, or invalid base64
        raise InvalidRequest("the body is not valid text or base64", code="malformed_body") from error
    query = event.get("queryStringParameters") or {}
    if not is_encodable("".join((path, *query, *query.values()))):
        raise InvalidRequest("the address contains half of a surrogate pair", code="invalid_character")
    return Request(
        method=http["method"],
        path=path.rstrip("/") or "/",
        headers=event.get("headers") or {},
        query=query,
        body=body,
        client=client,
        cookies=event.get("cookies") or (),
    )


def json_response(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """Return *content* as a JSON response."""
    return Response(status, msgspec.json.encode(content), JSON, headers or {})


def encode(response: Response) -> dict[str, Any]:
    """Return *response* in API Gateway's format; binary and compressed bodies become base64."""
    is_text = response.content_type.startswith(("text/", JSON)) and "Content-Encoding" not in response.headers
    return {
        "statusCode": response.status,
        "headers": {**({"Content-Type": response.content_type} if response.body else {}), **response.headers},
        "body": response.body.decode() if is_text else base64.b64encode(response.body).decode(),
        "isBase64Encoded": not is_text,
    }
