"""CORS: every answer may be read by the page that asked, errors too.

No cookie is ever read and none is set, so an answer says nothing that the page did not ask for with its own
write key. Origins are echoed rather than answered with ``*``; credentials are not allowed.
"""

import re

# What trackers send, on a first try and on a retry; "*" would not cover Authorization.
ALLOWED_HEADERS = (
    "Authorization, Content-Type, Content-Encoding, X-Retry-Count, AnonymousId, SentAt, Rsa-Recovered, "
    "Rsa-Retry-Attempt, Rsa-Retry-Reason, Rsa-Since-First-Attempt, Rsa-Since-Last-Attempt"
)
PREFLIGHT = {
    "Access-Control-Allow-Methods": "POST, GET, OPTIONS",
    "Access-Control-Allow-Headers": ALLOWED_HEADERS,
    "Access-Control-Max-Age": "7200",  # the most that Chrome keeps
}
# Else a page's tracker could not see how long to wait.
EXPOSED = "Retry-After, X-RateLimit-Reset"
VARY = "Origin, Accept-Encoding"  # the tag is sent packed to whoever takes it so
_LONGEST = 255
# The only shapes a browser sends: nothing else is echoed, whatever an attacker may put into a header.
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[A-Za-z0-9._~:\[\]%-]+")


def headers(origin: str) -> dict[str, str]:
    """Return the headers that let the page of *origin* read the answer."""
    echoed = origin if len(origin) <= _LONGEST and _ORIGIN.fullmatch(origin) else "*"
    return {"Access-Control-Allow-Origin": echoed, "Access-Control-Expose-Headers": EXPOSED, "Vary": VARY}
