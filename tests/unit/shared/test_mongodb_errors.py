"""Translating the driver's errors: the code says what to check, and no secret is quoted."""

import traceback

import pytest
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from refresher.wiring import build
from shared.errors import InvalidSettings, OpportuneError, Unavailable
from shared.mongodb import database, translate_errors
from shared.settings import Settings

ATLAS_RIGHT = "user is not allowed to do action [find] on [opportune.customers]"
MONGODB_RIGHT = 'not authorized on opportune to execute command { find: "customers", filter: { _id: "demo:anna" } }'
OTHER_RIGHT = 'not authorized on opportune to execute command { aggregate: 1, pipeline: [ { user: "anna" } ] }'
QUOTA = "you are over your space quota, anna"


def failure(said: str, code: int) -> OperationFailure:
    """Return the driver's error for a server's message *said*."""
    return OperationFailure(said, code, {"ok": 0.0, "errmsg": said, "code": code})


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (AutoReconnect("10.0.0.5 of anna"), "database_unavailable", "MongoDB: AutoReconnect"),
        (failure("bad auth : Authentication failed.", 8000), "database_refused", "these credentials (8000)"),
        (failure("Authentication failed.", 18), "database_refused", "these credentials (18)"),
        (failure(ATLAS_RIGHT, 8000), "database_refused", "lacks a right: find opportune.customers"),
        (failure(MONGODB_RIGHT, 13), "database_refused", "lacks a right: find customers"),
        (failure(OTHER_RIGHT, 13), "database_refused", "lacks a right, or the address names no user"),
        (failure("command find requires authentication", 13), "database_refused", "the address names no user"),
        (failure(QUOTA, 8000), "database_unavailable", "MongoDB: OperationFailure"),
    ],
    ids=["away", "Atlas: who", "who", "Atlas: right", "right", "unknown right", "nobody", "quota"],
)
def test_the_code_says_what_to_look_at(error: PyMongoError, code: str, message: str) -> None:
    """Unreachable, refused or something else. Of a command, only action and collection are quoted."""
    with pytest.raises(Unavailable) as caught, translate_errors():
        raise error
    assert (caught.value.code, caught.value.retryable) == (code, True)
    assert message in caught.value.message
    assert "anna" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("mongodb://anna:pa:ss/word@host/", InvalidSettings, "must be escaped"),
        ("mongodb://anna:pa@ss@host/", InvalidSettings, "must be escaped"),
        ("mongodb://host:password/", InvalidSettings, "must be escaped"),
        ("mongodb://host,other/?directConnection=true", InvalidSettings, "check its options"),
        ("mongodb+srv://anna:password@nowhere.invalid/", Unavailable, "the DNS does not know"),
    ],
    ids=["slash", "at", "port", "option", "nowhere"],
)
def test_an_address_that_is_none_is_refused_and_not_quoted(url: str, error: type[OpportuneError], message: str) -> None:
    """The driver quotes invalid parts in a chain of errors. None of that remains."""
    with pytest.raises(error, match=message) as caught:
        database(url, "opportune")
    told = "".join(traceback.format_exception(caught.value))
    assert not any(part in told.replace(f'"{url}"', "") for part in ("anna", "pa:ss", "pa@ss", "word@"))


def test_the_refresher_quotes_no_address_either() -> None:
    """The Refresher creates its client with other options."""
    settings = Settings("refresher", mongodb_url="mongodb://anna:pa:ss/word@host/")
    with pytest.raises(InvalidSettings, match="must be escaped"):
        build(settings)
