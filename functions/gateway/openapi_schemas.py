"""JSON Schemas of request bodies and responses, with the limits from the code."""

from typing import Any

from gateway.body import MAX_DEPTH
from gateway.tracking import MAX_BATCH_EVENTS, MAX_MESSAGE_ID_LENGTH
from shared.contracts import ANONYMOUS_PREFIX
from shared.user_ids import INVISIBLE, MAX_ID_LENGTH, PLACEHOLDERS

Schema = dict[str, Any]


_NO_NUL = r"^[^\u0000]*$"


def _text(max_length: int, *, min_length: int = 0) -> Schema:
    return {"type": "string", "minLength": min_length, "maxLength": max_length, "pattern": _NO_NUL}


def _id(*, unless: str = "") -> Schema:
    """Return the schema of an id that names one person, or one visitor."""
    end = f"[^{INVISIBLE}\\s{{}}$%<>\u200c\u200d\u2800\ufe0e\ufe0f]"
    return {
        "type": "string",
        "maxLength": MAX_ID_LENGTH,
        "pattern": f"^{f'(?!{unless})' if unless else ''}{end}([^{INVISIBLE}{{}}$%<>]*{end})?$",
        "not": {"enum": sorted(PLACEHOLDERS)},
        "description": "Not the text of a missing value, such as 'undefined', and without invisible characters.",
    }


def _or_null(*schemas: Schema) -> Schema:
    return {"anyOf": [*schemas, {"type": "null"}]}


def _object(*required: str, **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required)}


def _call(*required: str, **fields: Schema) -> Schema:
    """Return the schema of a call. It may have other fields, which are ignored."""
    return {**_object(*required, **_COMMON | fields), **_more("Value")}


def _more(name: str) -> Schema:
    return {"additionalProperties": _ref(name), "propertyNames": {"pattern": _NO_NUL}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_INTEGER: Schema = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_TIME: Schema = {
    "anyOf": [{"type": "string", "pattern": _NO_NUL}, {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}],
    "description": "ISO-8601, or a number of s, ms, µs or ns. An invalid time is not an error; it counts as now.",
}
_NUMBER: Schema = {**_INTEGER, "minimum": 1}
_USER_REQUIRED: Schema = {"anyOf": [_id(unless=ANONYMOUS_PREFIX), _NUMBER]}
_VISITOR_REQUIRED: Schema = {"anyOf": [_id(), _NUMBER]}
_REQUIRED: Schema = {"anyOf": [_text(MAX_ID_LENGTH, min_length=1), _INTEGER]}
_NAME = _or_null(_text(MAX_ID_LENGTH))
_CONTEXT: Schema = {"type": "object", **_more("Scalar")}
_FIELDS: Schema = {
    "type": ["object", "null"],
    **_more("Value"),
    "description": f"At most {MAX_DEPTH} levels deep.",
}
_COMMON: dict[str, Schema] = {
    "messageId": {
        **_or_null(_text(MAX_MESSAGE_ID_LENGTH)),
        "description": "An event repeated with the same id counts once.",
    },
    "userId": _or_null(_USER_REQUIRED, {"const": ""}),
    "anonymousId": _or_null(_VISITOR_REQUIRED, {"const": ""}),
    "timestamp": _TIME,
    "originalTimestamp": _TIME,
    "sentAt": _TIME,
    "context": _CONTEXT,
    "writeKey": {"type": "string", "pattern": _NO_NUL},
}


def schemas() -> Schema:
    """Return all schemas by name."""
    return {**_calls(), **_values(), **_responses()}


def _calls() -> Schema:
    sender = {
        "anyOf": [_object("userId", userId=_USER_REQUIRED), _object("anonymousId", anonymousId=_VISITOR_REQUIRED)]
    }
    view = _call(name=_NAME, category=_NAME, properties=_FIELDS)
    calls: dict[str, Schema] = {
        "Track": {**_call("event", event=_text(MAX_ID_LENGTH, min_length=1), properties=_FIELDS), **sender},
        "Page": {**view, **sender},
        "Screen": {**view, **sender},
        "Identify": {**_call(traits=_FIELDS), **sender},
        "Group": {**_call("groupId", groupId=_REQUIRED, traits=_FIELDS), **sender},
        "Alias": _call("userId", "previousId", userId=_USER_REQUIRED, previousId=_USER_REQUIRED),
    }
    items = [{"allOf": [_ref(name), _object("type", type={"const": name.lower()})]} for name in calls]
    batch = {"type": "array", "items": {"anyOf": items}, "maxItems": MAX_BATCH_EVENTS}
    own = {name: _COMMON[name] for name in ("context", "sentAt", "writeKey")}
    return {**calls, "Batch": _object("batch", batch=batch, **own), "Any": {"type": "object"}}


def _values() -> Schema:
    text = {"type": "string", "pattern": _NO_NUL}
    scalar = _ref("Scalar")
    return {
        "Scalar": {"anyOf": [text, _INTEGER, {"type": ["boolean", "null"]}]},
        "Value": {
            "anyOf": [
                scalar,
                {"type": "array", "items": scalar},
                {"type": "object", **_more("Scalar")},
            ],
            "description": "Any JSON, except integers of more than 64 bits and U+0000.",
        },
    }


def _responses() -> Schema:
    text = {"type": "string"}
    messages = {"type": "array", "items": {"type": "object"}, "description": "Popups to show now."}
    rejected = _object(
        "messageId", "code", "message", index={"type": "integer"}, messageId=_or_null(text), code=text, message=text
    )
    accepted = _object(
        "success",
        "messages",
        success={"const": True},
        messages=messages,
        rejected={"type": "array", "items": rejected},
        warnings={"type": "array", "items": rejected, "description": "About accepted items; for secret keys only."},
    )
    return {
        "Accepted": {**accepted, "additionalProperties": False},
        "Success": _object("success", success={"const": True}),
        "Error": {
            **_object("success", "code", "message", success={"const": False}, code=text, message=text),
            "additionalProperties": False,
        },
        "SegmentSettings": _object("integrations", integrations=_object("Segment.io"), metrics={"type": "object"}),
        "SourceConfig": _object("source", source=_object("id", "enabled", "config", "destinations")),
    }
