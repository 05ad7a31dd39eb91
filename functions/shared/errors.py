"""The tree of expected errors. Each has a code, a message, and whether to retry."""

from collections.abc import Mapping, Sequence


class OpportuneError(Exception):
    """An expected failure.

    code: its machine-readable name in JSON responses and logs.
    retryable: whether the same call may succeed later.
    status: the HTTP status of the response.
    """

    code = "internal_error"
    retryable = False
    status = 500

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the additional HTTP headers, such as when to retry."""
        return {"Retry-After": "1"} if self.retryable else {}


class InvalidRequest(OpportuneError):
    """The request is invalid. A retry would fail too."""

    code = "invalid_request"
    status = 400


class Unauthorized(OpportuneError):
    """The request has no write key, or no site has it."""

    code = "invalid_write_key"
    status = 401


class Forbidden(OpportuneError):
    """The write key does not allow this request."""

    code = "forbidden"
    status = 403


class TooManyRequests(OpportuneError):
    """The sender exceeded its rate. ``after_s``: seconds to wait before a retry."""

    code = "too_many_requests"
    retryable = True
    status = 429

    def __init__(self, message: str, *, after_s: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.after_s = after_s

    @property
    def headers(self) -> Mapping[str, str]:
        """Return when to retry. Trackers read the first header; Segment's documentation names the second."""
        return dict.fromkeys(("Retry-After", "X-RateLimit-Reset"), str(self.after_s))


class TooLarge(OpportuneError):
    """A body, a batch or an event exceeds its limit."""

    code = "too_large"
    status = 413


class UnsupportedBody(OpportuneError):
    """The body has an unsupported content encoding."""

    code = "unsupported_encoding"
    status = 415


class NotFound(OpportuneError):
    """Nothing is at this address."""

    code = "not_found"
    status = 404


class NotAllowed(OpportuneError):
    """The address does not allow this method. ``allowed``: the methods that it does."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, message: str, *, allowed: Sequence[str]) -> None:
        super().__init__(f"{message}; allowed: {', '.join(allowed)}")
        self.allowed = allowed

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the allowed methods."""
        return {"Allow": ", ".join(self.allowed)}


class Unavailable(OpportuneError):
    """A dependency did not answer in time, or refused."""

    code = "unavailable"
    retryable = True
    status = 503


class InvalidDefinition(OpportuneError):
    """A campaign, target group or site definition is invalid.

    field: the path inside the definition (``trigger.sequence[0].where``). For a file it becomes a line number.
    """

    code = "invalid_definition"
    status = 422

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidSettings(OpportuneError):
    """Settings are missing or malformed. The message names all of them."""

    code = "invalid_settings"
