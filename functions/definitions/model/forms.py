"""What the checks by functions of our own, and the rules between fields, are in JSON Schema."""

from typing import Any

from pydantic.json_schema import JsonSchemaValue

from definitions.model.content import CONTENTS
from definitions.model.times import CLOCK, HOURS, MOMENT
from shared.conditions.operands import MAX_LIST

_TEXT: JsonSchemaValue = {"type": "string", "minLength": 1}
SCALAR: JsonSchemaValue = {"type": ["string", "number", "boolean"]}
_ORDERED: JsonSchemaValue = {"type": ["string", "number"]}
_SCALARS: JsonSchemaValue = {"type": "array", "items": SCALAR, "minItems": 1, "maxItems": MAX_LIST}
OPERAND_FORMS: dict[str, JsonSchemaValue] = {
    **dict.fromkeys(("gt", "gte", "lt", "lte"), _ORDERED),
    **dict.fromkeys(("in", "not_in"), _SCALARS),
    **dict.fromkeys(("starts_with", "ends_with", "matches"), _TEXT),
    "between": {"type": "array", "items": _ORDERED, "minItems": 2, "maxItems": 2},
    "exists": {"type": "boolean"},
}
CONDITION: JsonSchemaValue = {"$ref": "#/$defs/Condition"}
_CLOCK: JsonSchemaValue = {"pattern": f"^({CLOCK.pattern})$"}

_OTHERS = ("any_of", "all_of", "none_of")

# What the models check by functions of their own, which say nothing to pydantic's schema.
FORMS: dict[str, JsonSchemaValue] = {
    "Theme.accent": {"pattern": "^#[0-9A-Fa-f]{6}$"},
    "Campaign.id": {"pattern": "^[a-z0-9-]{1,64}$"},
    "Campaign.targets": {"anyOf": [{"const": "everyone"}, {"type": "array", "items": _TEXT, "minItems": 1}]},
    "Campaign.until_seen": {"anyOf": [{"const": True}, {"type": "string", "pattern": "^0*[1-9][0-9]*[smhd]$"}]},
    "Campaign.variants": {"minItems": 2, "maxItems": 10},
    "Variant.id": {"pattern": "^[a-z0-9-]{1,32}$"},
    "Schedule.from": {"pattern": f"^{MOMENT.pattern}$"},
    "Schedule.to": {"pattern": f"^{MOMENT.pattern}$"},
    "Schedule.hours": {"pattern": f"^{HOURS.pattern}$"},
    **{f"{model}.{field}": _CLOCK for model in ("QuietHours", "SiteQuietHours") for field in ("from", "to")},
    "WebhookContent.url": {"pattern": "^[Hh][Tt][Tt][Pp][Ss]://[^/?#@:{}]+([/?]|$)"},
    "TargetGroup.id": {"pattern": "^[a-z0-9-]{1,64}$"},
    "TargetGroup.rule": {**CONDITION, "minProperties": 1},
    **{f"TargetGroup.{field}": {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 100} for field in _OTHERS},
    "Attribute.one_of": {"items": {"type": ["string", "number"]}},
    "Site.id": {"pattern": "^[a-z0-9-]{1,32}$"},
    "Key.key": {"pattern": r"^\S{8,200}$"},
    "Key.sha256": {"pattern": "^[0-9a-f]{64}$"},
    "Key.from_env": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "Sender.address": {"pattern": r"^[^@\s]{1,64}@[^@\s]+\.[A-Za-z]{2,}$"},
    **{f"{model}.where": CONDITION for model in ("Matcher", "Step", "Unless", "Goal")},
}


def _when(field: str, value: Any, then: JsonSchemaValue) -> JsonSchemaValue:
    return {"if": {"properties": {field: {"const": value}}, "required": [field]}, "then": then}


def _content(name: str) -> JsonSchemaValue:
    written = {"properties": {"content": {"$ref": f"#/$defs/{name}"}}}
    return {"properties": {**written["properties"], "variants": {"items": written}}}


def _exactly_one(*fields: str) -> JsonSchemaValue:
    return {"oneOf": [{"required": [field]} for field in fields]}


_REPEATED: JsonSchemaValue = {"properties": {"times": {"minimum": 2}}, "required": ["times"]}
_POPUP: JsonSchemaValue = {
    "properties": {
        "trigger": {"not": {"required": ["unless"]}},
        "quiet_hours": {
            "not": {"const": "hold"},
            "properties": {"then": {"const": "drop"}},
            "required": ["then"],
        },
    },
    "not": {"required": ["delay"]},
}
_GOES: JsonSchemaValue = {"required": ["dismiss_after"]}
_OF_A_DELAY: tuple[JsonSchemaValue, ...] = (
    {"properties": {"cancel_on": {"minItems": 1}}, "required": ["cancel_on"]},
    {"properties": {"cancel_on_goal": {"const": False}}, "required": ["cancel_on_goal"]},
    {"properties": {"if_state_lost": {"const": "send"}}, "required": ["if_state_lost"]},
)
_FALLBACK: JsonSchemaValue = {
    "if": {"required": ["fallback"]},
    "then": {"properties": {"timezone": {"const": "user"}}, "required": ["timezone"]},
}
# What one field of a definition says about another.
RULES: dict[str, JsonSchemaValue] = {
    "Campaign": {
        **_exactly_one("content", "variants"),
        "allOf": [
            *(_when("channel", channel, _content(model.__name__)) for channel, model in CONTENTS.items()),
            _when("channel", "popup", _POPUP),
            *({"if": each, "then": {"required": ["delay"]}} for each in _OF_A_DELAY),
            {"if": {"required": ["until_seen"]}, "then": {"properties": {"channel": {"const": "popup"}}}},
        ],
    },
    "Attribute": {"if": {"required": ["one_of"]}, "then": {"properties": {"type": {"enum": ["text", "number"]}}}},
    "Tag": {
        "anyOf": [{"required": ["page"]}, {"required": ["selector"]}],
        "if": {"required": ["on"]},
        "then": {"required": ["selector"]},
    },
    "Limits": {"minProperties": 1},
    "Schedule": {"anyOf": [{"required": [field]} for field in ("from", "to", "days", "hours")]},
    "QuietHours": _FALLBACK,
    "SiteQuietHours": {
        "allOf": [
            _FALLBACK,
            {
                "if": {"properties": {"channels": {"contains": {"const": "popup"}}}, "required": ["channels"]},
                "then": {"properties": {"then": {"const": "drop"}}, "required": ["then"]},
            },
        ]
    },
    "PopupContent": {
        "allOf": [
            {"if": {"required": ["html"]}, "then": {"properties": {"body": {"maxLength": 0}}}},
            _when(
                "close",
                value=False,
                then={"anyOf": [{"properties": {"actions": {"minItems": 1}}, "required": ["actions"]}, _GOES]},
            ),
        ],
    },
    "Trigger": {
        **_exactly_one("sequence", "all_of"),
        "if": {
            "anyOf": [
                {"required": ["all_of"]},
                {"properties": {"sequence": {"minItems": 2}}, "required": ["sequence"]},
                {"properties": {"sequence": {"contains": _REPEATED}}, "required": ["sequence"]},
            ]
        },
        "then": {"required": ["within"]},
    },
    "Step": {
        "allOf": [
            _when("consecutive", value=True, then=_REPEATED),
            {"if": {"required": ["inner"]}, "then": _REPEATED},
        ]
    },
    "TargetGroup": {
        "anyOf": [{"required": [field]} for field in ("rule", "list", *_OTHERS)],
        "not": {"required": ["rule", "list"]},
    },
    "EmailContent": {"anyOf": [{"required": ["text"]}, {"required": ["html"]}]},
    "Key": {
        **_exactly_one("key", "sha256", "from_env"),
        **_when("kind", "secret", {"not": {"required": ["key"]}}),
    },
}
