"""What a driver's error means, without what it says of commands and people."""

import re

from pymongo.errors import BulkWriteError, ConfigurationError, OperationFailure, PyMongoError

from shared.errors import InvalidSettings, OpportuneError, Unavailable

UNAUTHORIZED, AUTHENTICATION_FAILED = 13, 18  # of MongoDB; Atlas says 8000 for both, and for more
TOO_LARGE = frozenset({10334, 17419})
# Of what MongoDB and Atlas say only action and collection: the rest of a command may be personal.
_LACKING = re.compile(
    r'not authorized on \S+ to execute command { (\w+): "([^"]*)"|not allowed to do action \[(\w+)\] on \[([^\]]*)\]'
)


def unavailable(error: PyMongoError) -> Unavailable:
    """Return the error of ours; its code says whether MongoDB is away, refuses, or cannot be entered at all."""
    if isinstance(error, OperationFailure):
        if _is_of(error.__context__, "pymongo_auth_aws"):
            return Unavailable(f"MongoDB: {_without_credentials(error.__context__)}", code="no_credentials")
        if refused := _refused(error):
            return Unavailable(f"MongoDB: {refused}", code="database_refused")
    return Unavailable(f"MongoDB: {type(error).__name__}", code="database_unavailable")


def no_address(error: ConfigurationError | ValueError) -> OpportuneError:
    """Return the error of ours for an address that the driver does not take; nothing of it is quoted."""
    if _is_of(error.__cause__, "dns"):
        return Unavailable("MongoDB: the DNS does not know the host of its address", code="database_unavailable")
    return InvalidSettings(
        "the address of MongoDB cannot be read: look at its options; in the name and the password signs such as "
        "@ : / ? # % must be escaped, @ as %40"
    )


def is_too_large(error: BulkWriteError) -> bool:
    """Return whether nothing else went wrong than that documents would be larger than they may be, 16 MB."""
    codes = {each["code"] for each in error.details["writeErrors"]}
    return bool(codes) and codes <= TOO_LARGE


def _refused(error: OperationFailure) -> str:
    """Return what MongoDB or Atlas does not allow, empty where it is something else that went wrong."""
    said = str((error.details or {}).get("errmsg"))
    if error.code == AUTHENTICATION_FAILED or said.startswith("bad auth"):
        return f"lets nobody in with these credentials ({error.code}); is the role a database user?"
    if lacking := _LACKING.search(said):
        return f"its user lacks a right: {' '.join(filter(None, lacking.groups()))}"
    if error.code == UNAUTHORIZED:
        return "its user lacks a right, or the address names no user at all (13)"
    return ""


def _without_credentials(error: BaseException | None) -> str:
    """Return why the driver has found nothing to sign with."""
    cause = error.__context__ if error else None
    return f"no AWS credentials to enter with{f': {type(cause).__name__}' if _is_of(cause, 'botocore') else ''}"


def _is_of(error: BaseException | None, package: str) -> bool:
    return type(error).__module__.partition(".")[0] == package
