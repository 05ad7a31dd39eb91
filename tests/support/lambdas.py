"""What Lambda and API Gateway pass to a handler."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class Context:
    """A Lambda context with time left: ``remaining_ms`` until the timeout."""

    function_name: str = "test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:eu-central-1:123456789012:function:test"
    aws_request_id: str = "0d5c2a52-3a4e-4b63-8a2e-6d6d6e6f7071"
    remaining_ms: int = 30_000

    def get_remaining_time_in_millis(self) -> int:
        """Return ms until the timeout."""
        return self.remaining_ms


def http_event(
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return an API Gateway HTTP API event, payload version 2.0."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": dict(headers or {}),
        "queryStringParameters": dict(query or {}),
        "requestContext": {
            "http": {
                "method": method,
                "path": path,
                "sourceIp": "127.0.0.1",
                "userAgent": "test",
                "protocol": "HTTP/1.1",
            },
            "requestId": "r",
            "stage": "$default",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }
