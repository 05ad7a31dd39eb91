"""What bodies and answers look like, in the words of JSON Schema; the limits are those that the code has."""

from typing import Any

from gateway.body import MAX_DEPTH
from gateway.tracking import MAX_BATCH_EVENTS, MAX_ID_LENGTH, MAX_MESSAGE_ID_LENGTH
from shared.contracts import ANONYMOUS_PREFIX

Schema = dict[str, Any]


_NO_NUL = r"^[^\u0000]*$"


def _text(longest: int, *, unless: str = "", least: int = 0) -> Schema:
    start = f"(?!{unless})" if unless else ""
    return {"type": "string", "minLength": least, "maxLength": longest, "pattern": f"^{start}{_NO_NUL[1:]}"}


def _or_null(*schemas: Schema) -> Schema:
    return {"anyOf": [*schemas, {"type": "null"}]}


def _object(*required: str, **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required)}


def _call(*required: str, **fields: Schema) -> Schema:
    """Return an object that may say more: whatever a client likes, it is not read."""
    return {**_object(*required, **_COMMON | fields), **_more("Value")}


def _more(name: str) -> Schema:
    return {"additionalProperties": _ref(name), "propertyNames": {"pattern": _NO_NUL}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_WHOLE: Schema = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_TIME: Schema = {"type": "string", "pattern": _NO_NUL, "description": "ISO-8601; one that cannot be read is no error."}
_USER = _text(MAX_ID_LENGTH, unless=ANONYMOUS_PREFIX)
_USER_GIVEN: Schema = {"anyOf": [{**_USER, "minLength": 1}, _WHOLE]}
_GIVEN: Schema = {"anyOf": [_text(MAX_ID_LENGTH, least=1), _WHOLE]}
_NAME = _or_null(_text(MAX_ID_LENGTH))
_CONTEXT: Schema = {"type": "object", **_more("Scalar")}
_FIELDS: Schema = {
    "type": ["object", "null"],
    **_more("Value"),
    "description": f"At most {MAX_DEPTH} levels deep.",
}
_COMMON: dict[str, Schema] = {
    "messageId": {**_or_null(_text(MAX_MESSAGE_ID_LENGTH)), "description": "Sent again with the same id: counts once."},
    "userId": _or_null(_USER, _WHOLE),
    "anonymousId": _or_null(_text(MAX_ID_LENGTH), _WHOLE),
    "timestamp": _TIME,
    "originalTimestamp": _TIME,
    "sentAt": _TIME,
    "context": _CONTEXT,
    "writeKey": {"type": "string", "pattern": _NO_NUL},
}


def schemas() -> Schema:
    """Return all schemas by their names."""
    return {**_calls(), **_values(), **_answers()}


def _calls() -> Schema:
    somebody = {"anyOf": [_object("userId", userId=_USER_GIVEN), _object("anonymousId", anonymousId=_GIVEN)]}
    view = _call(name=_NAME, category=_NAME, properties=_FIELDS)
    calls: dict[str, Schema] = {
        "Track": {**_call("event", event=_text(MAX_ID_LENGTH, least=1), properties=_FIELDS), **somebody},
        "Page": {**view, **somebody},
        "Screen": {**view, **somebody},
        "Identify": {**_call(traits=_FIELDS), **somebody},
        "Group": {**_call("groupId", groupId=_GIVEN, traits=_FIELDS), **somebody},
        "Alias": _call("userId", "previousId", userId=_USER_GIVEN, previousId=_USER_GIVEN),
    }
    items = [{"allOf": [_ref(name), _object("type", type={"const": name.lower()})]} for name in calls]
    batch = {"type": "array", "items": {"anyOf": items}, "maxItems": MAX_BATCH_EVENTS}
    own = {name: _COMMON[name] for name in ("context", "sentAt", "writeKey")}
    return {**calls, "Batch": _object("batch", batch=batch, **own), "Any": {"type": "object"}}


def _values() -> Schema:
    text = {"type": "string", "pattern": _NO_NUL}
    scalar = _ref("Scalar")
    return {
        "Scalar": {"anyOf": [text, _WHOLE, {"type": ["boolean", "null"]}]},
        "Value": {
            "anyOf": [
                scalar,
                {"type": "array", "items": scalar},
                {"type": "object", **_more("Scalar")},
            ],
            "description": "Any JSON, in fact; whole numbers of 64 bits, no U+0000.",
        },
    }


def _answers() -> Schema:
    text = {"type": "string"}
    messages = {"type": "array", "items": {"type": "object"}, "description": "Popups to show now."}
    rejected = _object(
        "messageId", "code", "message", index={"type": "integer"}, messageId=_or_null(text), code=text, message=text
    )
    taken = _object(
        "success", "messages", success={"const": True}, messages=messages, rejected={"type": "array", "items": rejected}
    )
    return {
        "Taken": {**taken, "additionalProperties": False},
        "Success": _object("success", success={"const": True}),
        "Error": {
            **_object("success", "code", "message", success={"const": False}, code=text, message=text),
            "additionalProperties": False,
        },
        "SegmentSettings": _object("integrations", integrations=_object("Segment.io"), metrics={"type": "object"}),
        "SourceConfig": _object("source", source=_object("id", "enabled", "config", "destinations")),
    }
