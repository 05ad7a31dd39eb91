"""Logging of failures."""

import pytest
from aws_lambda_powertools import Logger

from shared.errors import Unavailable
from shared.observability import log_failure


def test_an_expected_failure_is_logged_with_its_code_and_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """Lambda's own log has only the message."""
    with pytest.raises(Unavailable), log_failure(Logger(service="decider")):
        raise Unavailable("state store: no answer in time", code="state_unavailable")
    (record,) = caplog.records
    logged = vars(record)
    assert (record.levelname, logged["code"], logged["reason"]) == (
        "ERROR",
        "state_unavailable",
        "state store: no answer in time",
    )


def test_a_bug_is_left_to_lambda(caplog: pytest.LogCaptureFixture) -> None:
    """The log has its line, but not its message, which may quote a customer."""
    with pytest.raises(KeyError), log_failure(Logger(service="decider")):
        raise KeyError("ada@example.com")
    assert caplog.records == []
