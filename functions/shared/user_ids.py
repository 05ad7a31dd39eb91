"""The one rule for ids of users and visitors. Requests, imports and lists follow it.

An id is text that names one person. Programs often send something else in its place: the text of a missing value, an
unfilled template, or a number that has lost digits. Such an id would make strangers one person, so it is refused.
"""

import re
from typing import Any

from shared.contracts import ANONYMOUS_PREFIX
from shared.errors import InvalidRequest
from shared.text import is_encodable

MAX_ID_LENGTH = 256
MAX_EXACT_FLOAT = 2**53
# The text of "no value" and "no user" in many languages and libraries. Compared in lower case.
PLACEHOLDERS = frozenset(
    {
        "undefined", "null", "nil", "none", "nan", "infinity", "-infinity", "inf", "-inf", "true", "false", "n/a",
        "(null)", "<null>", "<nil>", "(nil)", "<none>", "(none)", "(not set)", "not_set", "nullptr", "dbnull", "#n/a",
        "0", "-1", "{}", "[]", "''", '""', "function", "anonymous", "guest", "unknown", "not_authenticated",
        "00000000-0000-0000-0000-000000000000", "00000000000000000000000000000000",
    }
)  # fmt: skip
# [object Object], an unfilled {{ user.id }}, ${userId}, <%= id %> or %%ID%%, the source of a function, an address.
_UNFILLED = re.compile(
    r"^\[object .*\]$|\{\{.*\}\}|\$\{.*\}|<%.*%>|%%.+%%|^(async )?function ?\w*\(|^<[\w. ]+ at 0x[0-9a-f]+>$",
    re.IGNORECASE | re.DOTALL,
)
# How spreadsheets show a long number: the other digits are lost.
_ROUNDED = re.compile(r"[0-9]([.,][0-9]+)?E\+[0-9]+", re.IGNORECASE | re.ASCII)
_PLAIN = re.compile(r"[A-Za-z0-9_.@:|/=+-]{1,256}")
# Characters without a glyph: controls, soft hyphen, zero-width, direction marks, fillers, tags. Some scripts need
# joiners (U+200C, U+200D) inside a word, so an id may contain them.
INVISIBLE = (
    "\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u200e\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
_JOINERS = "\u200c\u200d\ufe0e\ufe0f\u2800"


def read_text(value: Any, field: str, max_length: int) -> str:
    """Return *value* of *field* as text; empty if it is missing, ``None`` or empty. A whole number becomes text.

    Raises `InvalidRequest` (``invalid_field``) for a wrong type, or for more than *max_length* characters.
    """
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON does not distinguish 7.0 from 7
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise InvalidRequest(f"'{field}' must be a string", code="invalid_field")
    if len(value) > max_length:
        raise InvalidRequest(f"'{field}' is longer than {max_length} characters", code="invalid_field")
    return value


def read_id(value: Any, field: str) -> str:
    """Return *value* of *field* as an id; empty if it is missing, ``None`` or empty. A whole number becomes text.

    Raises `InvalidRequest`: ``invalid_field`` for a wrong type or length, else as `check_id`.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) > MAX_EXACT_FLOAT:
        raise InvalidRequest(f"'{field}' is a number that has lost digits: send it as text", code="invalid_user_id")
    text = read_text(value, field, MAX_ID_LENGTH)
    return check_id(text, field) if text else ""


def read_user_id(value: Any, field: str) -> str:
    """Return *value* of *field* as the id of a known user. Raises as `read_id`, or ``reserved_user_id``."""
    user = read_id(value, field)
    if user.startswith(ANONYMOUS_PREFIX):
        raise InvalidRequest(f"a user id must not begin with '{ANONYMOUS_PREFIX}'", code="reserved_user_id")
    return user


def check_id(text: str, field: str) -> str:
    """Return *text*; raise `InvalidRequest` (``invalid_user_id``) if it does not name one person."""
    lower = text.lower()
    if lower not in PLACEHOLDERS and _PLAIN.fullmatch(text) and not _ROUNDED.fullmatch(text):
        return text
    problem = _find_problem(text, lower)
    if problem:
        raise InvalidRequest(f"'{field}' {problem}", code="invalid_user_id")
    return text


def _find_problem(text: str, lower: str) -> str:
    """Return what is wrong with *text*; empty if nothing is."""
    if lower.strip() in PLACEHOLDERS or _UNFILLED.search(text.strip()):
        return f"is {text[:64]!r}, which names no one: leave it out if there is no user"
    if _ROUNDED.fullmatch(text.strip()):
        return f"is {text!r}, a number that has lost digits: write all of them, as text"
    if not is_encodable(text):
        return "contains half of a surrogate pair"
    if found := _INVISIBLE.search(text):
        return f"contains the invisible character U+{ord(found[0]):04X}"
    if not text.strip().strip(_JOINERS):
        return "is blank"
    if text != text.strip():
        return "begins or ends with a blank"
    return ""
