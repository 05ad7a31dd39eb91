"""Expected failures of the local stack."""

from shared.errors import OpportuneError


class LocalStackError(OpportuneError):
    """A part of the local stack could not be started, used or stopped; the message says what to do."""

    code = "local_stack"


class Throttled(LocalStackError):
    """All execution environments of a function stayed busy for as long as the function may run."""

    code = "too_many_requests"
    retryable = True
    status = 429
