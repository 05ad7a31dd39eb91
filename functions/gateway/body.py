"""Decompress, parse and validate request bodies. Pure functions."""

import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from shared.errors import InvalidRequest, TooLarge, UnsupportedBody
from shared.text import is_encodable

MAX_EVENT_BYTES = 32 * 1024
MAX_BATCH_BYTES = 500 * 1024
MAX_DEPTH = 8
GZIP_MAGIC = b"\x1f\x8b"
# The same two bytes after a proxy has decoded them as UTF-8 text.
GZIP_READ_AS_TEXT = "\x1f\ufffd".encode()
_INT64 = 2**63
_WHITESPACE = b" \t\r\n"


class Shape(NamedTuple):
    """Measurements of a JSON value.

    depth: levels of nesting; a scalar has 0.
    keys: number of keys in all its objects.
    huge: whether it contains an integer of more than 64 bits.
    """

    depth: int
    keys: int
    huge: bool


class Body(NamedTuple):
    """A parsed body.

    may_have_nul: the text contains an escaped U+0000, or an escaped backslash that looks like one.
    size: bytes after decompression.
    unreadable: items of a batch that are not JSON, and why; they are empty objects in ``value``.
    """

    value: dict[str, Any]
    shape: Shape
    may_have_nul: bool
    size: int
    unreadable: Mapping[int, str] = {}


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Return *body*, decompressed if *encoding* or its first bytes say gzip.

    Reads no more than *limit* bytes; raises `TooLarge` beyond that.
    """
    if len(body) > limit:
        raise TooLarge(f"the body has {len(body)} bytes; the limit is {limit}")
    if body.startswith(GZIP_READ_AS_TEXT):
        raise UnsupportedBody(
            "a proxy decoded the gzip body as text: send 'Content-Encoding: gzip', or do not compress the body",
            code="mangled_gzip",
        )
    coding = encoding.strip().lower()
    if coding not in ("", "identity", "gzip", "x-gzip") and not body.startswith(GZIP_MAGIC):
        raise UnsupportedBody(f"the content encoding {coding[:32]!r} is not supported; use gzip")
    if "gzip" not in coding and not body.startswith(GZIP_MAGIC):
        return body
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as compressed:
            plain = compressed.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidRequest("the gzip body cannot be decompressed", code="malformed_gzip") from error
    if len(plain) > limit:
        raise TooLarge(f"the decompressed body has more than {limit} bytes")
    return plain


def parse(body: bytes) -> Body:
    """Return the JSON object in *body*, whatever its content type.

    Rejects what two parsers could read differently: duplicate keys and lone surrogates.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        salvaged = _salvage(body)
        if salvaged is None:
            raise InvalidRequest(f"the body is not JSON: {error}", code="malformed_json") from error
        return salvaged
    if not isinstance(value, dict):
        raise InvalidRequest("the body must be a JSON object", code="malformed_json")
    shape = measure(value)
    if body.translate(None, _WHITESPACE).count(b'":') > shape.keys:  # a duplicate key, or a string like ":)"
        json.loads(body, object_pairs_hook=_reject_duplicates)
    return Body(value, shape, may_have_nul=b"\\u0000" in body, size=len(body))


def _salvage(body: bytes) -> Body | None:
    """Return a batch of which only some items are not JSON, because of NaN, Infinity or half a surrogate pair.

    Many libraries write these, and one of them must not cost the other items. ``None`` if *body* is not such a batch.
    """
    if b'"batch"' not in body:
        return None
    try:
        value = json.loads(body.decode(), object_pairs_hook=_reject_duplicates)
        items = value.get("batch") if isinstance(value, dict) else None
        if not isinstance(items, list):
            return None
        unreadable: dict[int, str] = {}
        for position, item in enumerate(items):
            try:
                msgspec.json.decode(json.dumps(item))
            except msgspec.DecodeError as error:
                message_id = item.get("messageId") if isinstance(item, dict) else None
                is_text = isinstance(message_id, str) and is_encodable(message_id)
                items[position], unreadable[position] = {"messageId": message_id} if is_text else {}, str(error)
        clean = parse(json.dumps(value).encode())
    except (ValueError, RecursionError, InvalidRequest):
        return None
    return clean._replace(size=len(body), unreadable=unreadable) if unreadable else None


def check(value: Any, what: str, max_depth: int, *, may_have_nul: bool) -> None:
    """Raise `InvalidRequest` if *value* is nested deeper than *max_depth* or cannot be stored.

    what: the name of the value in the error message.
    """
    check_shape(value, measure(value), what, max_depth, may_have_nul=may_have_nul)


def check_shape(value: Any, shape: Shape, what: str, max_depth: int, *, may_have_nul: bool) -> None:
    """Check *value* like `check`, with its *shape* already measured."""
    if shape.depth > max_depth:
        raise InvalidRequest(f"{what} is nested too deeply: fields may have {MAX_DEPTH} levels", code="too_deep")
    if shape.huge:
        raise InvalidRequest(f"{what} contains an integer of more than 64 bits", code="huge_number")
    if may_have_nul and _has_nul(value):
        raise InvalidRequest(f"{what} contains the character U+0000, which cannot be stored", code="invalid_character")


def measure(value: Any) -> Shape:
    """Return the shape of *value*. It goes level by level, so no depth exhausts the stack."""
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


def _reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        duplicate = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)
        raise InvalidRequest(f"the key {duplicate[:64]!r} occurs twice in one object", code="duplicate_key")
    return found
