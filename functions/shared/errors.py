"""The one tree of errors: every expected failure has a code, a message and a verdict on retrying."""


class OpportuneError(Exception):
    """An expected failure.

    ``code`` is the machine-readable name that ends up in JSON answers and logs, ``retryable``
    says whether the same call may succeed later, ``status`` is what HTTP answers.
    """

    code = "internal_error"
    retryable = False
    status = 500

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class InvalidRequest(OpportuneError):
    """The caller sent something that can never be accepted as it is."""

    code = "invalid_request"
    status = 400


class Unauthorized(OpportuneError):
    """No write key, or one that no site has."""

    code = "invalid_write_key"
    status = 401


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
    """Something is at this address, but not for this method."""

    code = "method_not_allowed"
    status = 405


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
