"""CORS: the requesting page may read every response, including errors.

The API sets no cookies, and reads at most the one that proves an anonymous id. Content for visitors is not personal, so
a response contains only what the write key already permits. The header echoes the origin instead of ``*``. Credentials
are allowed, because `sendBeacon` always sends them.
"""

import re

# The headers that trackers send, including those of a retry. "*" would not cover Authorization.
ALLOWED_HEADERS = (
    "Authorization, Content-Type, Content-Encoding, X-Retry-Count, AnonymousId, SentAt, Rsa-Recovered, "
    "Rsa-Retry-Attempt, Rsa-Retry-Reason, Rsa-Since-First-Attempt, Rsa-Since-Last-Attempt, SP-Anonymous"
)
PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
    "Access-Control-Allow-Headers": ALLOWED_HEADERS,
    "Access-Control-Max-Age": "7200",  # Chrome's maximum
}
# A tracker in a page reads these to see how long to wait.
EXPOSED = "Retry-After, X-RateLimit-Reset"
VARY = "Origin, Accept-Encoding"  # the tag is sent compressed if the browser accepts that
_MAX_ORIGIN_LENGTH = 255
# The only forms a browser sends. Nothing else is echoed.
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[A-Za-z0-9._~:\[\]%-]+")


def response_headers(origin: str) -> dict[str, str]:
    """Return the headers that let a page of *origin* read the response."""
    echoed = origin if len(origin) <= _MAX_ORIGIN_LENGTH and _ORIGIN.fullmatch(origin) else "*"
    headers = {"Access-Control-Allow-Origin": echoed, "Access-Control-Expose-Headers": EXPOSED, "Vary": VARY}
    return headers if echoed == "*" else {**headers, "Access-Control-Allow-Credentials": "true"}
