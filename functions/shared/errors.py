"""The one tree of errors: every expected failure has a code, a message and a verdict on retrying."""

from collections.abc import Mapping, Sequence


class OpportuneError(Exception):
    """An expected failure.

    ``code`` is the machine-readable name that ends up in JSON answers and logs, ``retryable``
    says whether the same call may succeed later, ``status`` and ``headers`` are what HTTP answers.
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
        """Return what HTTP answers besides: when it is worth trying again."""
        return {"Retry-After": "1"} if self.retryable else {}


class InvalidRequest(OpportuneError):
    """The caller sent something that can never be accepted as it is."""

    code = "invalid_request"
    status = 400


class Unauthorized(OpportuneError):
    """No write key, or one that no site has."""

    code = "invalid_write_key"
    status = 401


class Forbidden(OpportuneError):
    """The write key is known, but not for this."""

    code = "forbidden"
    status = 403


class TooManyRequests(OpportuneError):
    """More than may come from one place; ``after_s``: when it is worth trying again."""

    code = "too_many_requests"
    retryable = True
    status = 429

    def __init__(self, message: str, *, after_s: int, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.after_s = after_s

    @property
    def headers(self) -> Mapping[str, str]:
        """Return when to try again: trackers read the one, Segment's documentation names the other."""
        return dict.fromkeys(("Retry-After", "X-RateLimit-Reset"), str(self.after_s))


class TooLarge(OpportuneError):
    """A body or an event over its limit."""

    code = "too_large"
    status = 413


class UnsupportedBody(OpportuneError):
    """A body that is packed in a way we do not unpack."""

    code = "unsupported_encoding"
    status = 415


class NotFound(OpportuneError):
    """Nothing is at this address."""

    code = "not_found"
    status = 404


class NotAllowed(OpportuneError):
    """Something is at this address, but not for this method; ``allowed``: those that it is for."""

    code = "method_not_allowed"
    status = 405

    def __init__(self, message: str, *, allowed: Sequence[str]) -> None:
        super().__init__(f"{message}, but {', '.join(allowed)}")
        self.allowed = allowed

    @property
    def headers(self) -> Mapping[str, str]:
        """Return the methods that are allowed."""
        return {"Allow": ", ".join(self.allowed)}


class Unavailable(OpportuneError):
    """A part we depend on did not answer in time, or refused."""

    code = "unavailable"
    retryable = True
    status = 503


class InvalidDefinition(OpportuneError):
    """A campaign, target group or site definition that cannot be used.

    ``field`` is the dotted path inside the definition (``trigger.sequence[0].where``); the reader
    of a file turns it into a line number.
    """

    code = "invalid_definition"
    status = 422

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class InvalidSettings(OpportuneError):
    """Environment settings that are missing or malformed: names all of them at once."""

    code = "invalid_settings"
