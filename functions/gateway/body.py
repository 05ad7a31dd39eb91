"""Bodies: unpacked, parsed and looked over before anything reads them. Pure."""

import gzip
import io
import json
import re
import zlib
from collections import Counter
from typing import Any, NamedTuple

import msgspec

from shared.errors import InvalidRequest, TooLarge, UnsupportedBody

MAX_EVENT_BYTES = 32 * 1024
MAX_BATCH_BYTES = 500 * 1024
MAX_DEPTH = 8
GZIP_MAGIC = b"\x1f\x8b"
# What is left of those two bytes where somebody on the way has read them as UTF-8 text.
GZIP_READ_AS_TEXT = "\x1f\ufffd".encode()
_INT64 = 2**63
# Behind every key of an object; now and then also within a string, as in ":)".
_KEY_END = re.compile(rb'"[ \t\r\n]*:')


class Shape(NamedTuple):
    """How deep a value is nested (text and numbers: 0), how many keys its objects have, whether a number is huge."""

    depth: int
    keys: int
    huge: bool


class Body(NamedTuple):
    """A parsed body of *size* bytes. ``nul``: the character U+0000 seems to be in it."""

    value: dict[str, Any]
    shape: Shape
    nul: bool
    size: int


def inflate(body: bytes, encoding: str, limit: int) -> bytes:
    """Return *body* unpacked where it is gzip, by header or by its first bytes; never more than *limit*."""
    if len(body) > limit:
        raise TooLarge(f"the body has {len(body)} bytes, at most {limit} are taken")
    if body.startswith(GZIP_READ_AS_TEXT):
        raise UnsupportedBody(
            "the gzip body was read as text on its way: send 'Content-Encoding: gzip' with it, or do not pack it",
            code="mangled_gzip",
        )
    coding = encoding.strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip") and not body.startswith(GZIP_MAGIC):
        raise UnsupportedBody(f"the body is packed with {coding[:32]!r}; only gzip is unpacked")
    if "gzip" not in coding and not body.startswith(GZIP_MAGIC):
        return body
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as packed:
            plain = packed.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidRequest("the body says it is gzip, but cannot be unpacked", code="malformed_gzip") from error
    if len(plain) > limit:
        raise TooLarge(f"the unpacked body has more than {limit} bytes")
    return plain


def parse(body: bytes) -> Body:
    """Return the JSON object in *body*, whatever the content type said.

    Refuses what two readers might read differently: keys that come twice, halves of surrogate pairs.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"the body is not JSON: {error}", code="malformed_json") from error
    if not isinstance(value, dict):
        raise InvalidRequest("the body is JSON, but not an object", code="malformed_json")
    shape = shape_of(value)
    if len(_KEY_END.findall(body)) > shape.keys:  # a key twice, or a string like ":)"
        json.loads(body, object_pairs_hook=_once)
    return Body(value, shape, nul=b"\\u0000" in body, size=len(body))


def check(value: Any, what: str, levels: int, *, nul: bool) -> None:
    """Raise `InvalidRequest` where *value*, called *what*, is deeper than *levels*, or says what nobody can store."""
    check_shape(value, shape_of(value), what, levels, nul=nul)


def check_shape(value: Any, shape: Shape, what: str, levels: int, *, nul: bool) -> None:
    """Do the same where the *shape* of *value* is known."""
    if shape.depth > levels:
        raise InvalidRequest(f"{what} is nested too deeply: fields may hold {MAX_DEPTH} levels", code="too_deep")
    if shape.huge:
        raise InvalidRequest(f"{what} holds a whole number of more than 64 bits", code="huge_number")
    if nul and _has_nul(value):
        raise InvalidRequest(f"{what} holds the character U+0000, which cannot be stored", code="invalid_character")


def shape_of(value: Any) -> Shape:
    """Return the shape of *value*, level by level: no depth exhausts the stack."""
    depth = keys = 0
    huge = False
    level = [value] if isinstance(value, dict | list) else []
    while level:
        depth += 1
        below: list[Any] = []
        for part in level:
            if type(part) is dict:
                keys += len(part)
            for each in part.values() if type(part) is dict else part:
                kind = type(each)
                if kind is dict or kind is list:
                    below.append(each)
                elif kind is int and not -_INT64 <= each < _INT64:
                    huge = True
        level = below
    return Shape(depth, keys, huge)


def _has_nul(value: Any) -> bool:
    rest = [value]
    while rest:
        part = rest.pop()
        if isinstance(part, str):
            if "\0" in part:
                return True
        elif isinstance(part, dict):
            rest += part.keys()
            rest += part.values()
        elif isinstance(part, list):
            rest += part
    return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise InvalidRequest(f"the key {twice[:64]!r} comes twice in one object", code="duplicate_key")
    return found
