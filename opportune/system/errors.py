"""Expected errors of the local stack."""

from shared.errors import OpportuneError


class LocalStackError(OpportuneError):
    """A part of the local stack could not be started, used or stopped. The message says what to do."""

    code = "local_stack"


class Throttled(LocalStackError):
    """All execution environments of a function stayed busy until the function's timeout."""

    code = "too_many_requests"
    retryable = True
    status = 429
