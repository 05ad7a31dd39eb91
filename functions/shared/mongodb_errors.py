"""Translate errors of the MongoDB driver, without the commands and personal data that they quote."""

import re

from pymongo.errors import BulkWriteError, ConfigurationError, OperationFailure, PyMongoError

from shared.errors import InvalidSettings, OpportuneError, Unavailable

UNAUTHORIZED, AUTHENTICATION_FAILED = 13, 18  # MongoDB's codes; Atlas uses 8000 for both and for others
TOO_LARGE = frozenset({10334, 17419})
# Extracts only the action and the collection. The rest of a command may contain personal data.
_LACKING = re.compile(
    r'not authorized on \S+ to execute command { (\w+): "([^"]*)"|not allowed to do action \[(\w+)\] on \[([^\]]*)\]'
)


def to_unavailable(error: PyMongoError) -> Unavailable:
    """Return the error to raise; its code tells unreachable, missing rights and missing credentials apart."""
    if isinstance(error, OperationFailure):
        if _comes_from(error.__context__, "pymongo_auth_aws"):
            return Unavailable(f"MongoDB: {_explain_credentials(error.__context__)}", code="no_credentials")
        if refused := _explain_refusal(error):
            return Unavailable(f"MongoDB: {refused}", code="database_refused")
    return Unavailable(f"MongoDB: {type(error).__name__}", code="database_unavailable")


def to_connect_error(error: ConfigurationError | ValueError) -> OpportuneError:
    """Return the error to raise for an address that the driver rejects, without quoting it."""
    if _comes_from(error.__cause__, "dns"):
        return Unavailable("MongoDB: the DNS does not know the host of the address", code="database_unavailable")
    return InvalidSettings(
        "the address of MongoDB is not valid: check its options; in the user name and the password, characters such as "
        "@ : / ? # % must be escaped (@ is %40)"
    )


def is_too_large(error: BulkWriteError) -> bool:
    """Return whether *error* only says that documents would exceed 16 MB."""
    codes = {each["code"] for each in error.details["writeErrors"]}
    return bool(codes) and codes <= TOO_LARGE


def _explain_refusal(error: OperationFailure) -> str:
    """Return what MongoDB or Atlas refused; empty for other errors."""
    message = str((error.details or {}).get("errmsg"))
    if error.code == AUTHENTICATION_FAILED or message.startswith("bad auth"):
        return f"refused these credentials ({error.code}); check that the role is a database user"
    if lacking := _LACKING.search(message):
        return f"the user lacks a right: {' '.join(filter(None, lacking.groups()))}"
    if error.code == UNAUTHORIZED:
        return "the user lacks a right, or the address names no user (13)"
    return ""


def _explain_credentials(error: BaseException | None) -> str:
    """Return why the driver found no credentials."""
    cause = error.__context__ if error else None
    return f"no AWS credentials{f': {type(cause).__name__}' if _comes_from(cause, 'botocore') else ''}"


def _comes_from(error: BaseException | None, package: str) -> bool:
    return type(error).__module__.partition(".")[0] == package
