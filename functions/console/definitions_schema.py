"""JSON Schema of what people write, made from the models, with a sentence about every field.

The models say what a definition becomes (durations are milliseconds, one event name is a list of one); the
schema says what is written, so that an editor can complete it and check it on the way. The schema finds most
mistakes, `console.definitions.validate` all of them.
"""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from console.definitions_model import Definition, format_duration, one_or_more, parse_duration
from console.definitions_words import EXAMPLES, OPERATORS, WORDS
from shared.conditions_operands import MAX_LIST, OPERANDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_DURATION: JsonSchemaValue = {"type": "string", "pattern": "^0*[1-9][0-9]*[smhd]$"}
_TEXT: JsonSchemaValue = {"type": "string", "minLength": 1}
_SCALAR: JsonSchemaValue = {"type": ["string", "number", "boolean"]}
_ORDERED: JsonSchemaValue = {"type": ["string", "number"]}
_SCALARS: JsonSchemaValue = {"type": "array", "items": _SCALAR, "minItems": 1, "maxItems": MAX_LIST}
_OPERANDS: dict[str, JsonSchemaValue] = {
    **dict.fromkeys(("gt", "gte", "lt", "lte"), _ORDERED),
    **dict.fromkeys(("in", "not_in"), _SCALARS),
    **dict.fromkeys(("starts_with", "ends_with", "matches"), _TEXT),
    "between": {"type": "array", "items": _ORDERED, "minItems": 2, "maxItems": 2},
    "exists": {"type": "boolean"},
}
_CONDITION: JsonSchemaValue = {"$ref": "#/$defs/Condition"}

# What the models check by functions of their own, which say nothing to pydantic's schema.
_FORMS: dict[str, JsonSchemaValue] = {
    "Campaign.id": {"pattern": "^[a-z0-9-]{1,64}$"},
    "Campaign.targets": {"anyOf": [{"const": "everyone"}, {"type": "array", "items": _TEXT, "minItems": 1}]},
    "TargetGroup.id": {"pattern": "^[a-z0-9-]{1,64}$"},
    "TargetGroup.rule": {**_CONDITION, "minProperties": 1},
    "Site.id": {"pattern": "^[a-z0-9-]{1,32}$"},
    "Key.key": {"pattern": r"^\S{8,200}$"},
    "Key.sha256": {"pattern": "^[0-9a-f]{64}$"},
    "Key.from_env": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
    "Sender.address": {"pattern": r"^[^@\s]{1,64}@[^@\s]+\.[A-Za-z]{2,}$"},
    **{f"{model}.where": _CONDITION for model in ("Matcher", "Step", "Unless")},
}


def _when(field: str, value: Any, then: JsonSchemaValue) -> JsonSchemaValue:
    return {"if": {"properties": {field: {"const": value}}, "required": [field]}, "then": then}


def _content(name: str, **others: JsonSchemaValue) -> JsonSchemaValue:
    return {"properties": {"content": {"$ref": f"#/$defs/{name}"}, **others}}


def _exactly_one(*fields: str) -> JsonSchemaValue:
    return {"oneOf": [{"required": [field]} for field in fields]}


_REPEATED: JsonSchemaValue = {"properties": {"times": {"minimum": 2}}, "required": ["times"]}
# What one field of a definition says about another.
_RULES: dict[str, JsonSchemaValue] = {
    "Campaign": {
        "allOf": [
            _when("channel", "popup", _content("PopupContent", trigger={"not": {"required": ["unless"]}})),
            _when("channel", "email", _content("EmailContent")),
        ]
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
    "TargetGroup": _exactly_one("rule", "list"),
    "EmailContent": {"anyOf": [{"required": ["text"]}, {"required": ["html"]}]},
    "Key": {
        **_exactly_one("key", "sha256", "from_env"),
        **_when("kind", "secret", {"not": {"required": ["key"]}}),
    },
}


def schema(model: type[Definition]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of *model* as it is written."""
    made = model.model_json_schema(by_alias=True, schema_generator=_AsWritten)
    parts = made.get("$defs", {})
    for part in (made, *parts.values()):
        _complete(part)
    if _refers(made, _CONDITION["$ref"]):
        made["$defs"] = {"Condition": _condition(), **parts}
    return {"$schema": DIALECT, **made}


def words(model: str, field: str) -> str | None:
    """Return the sentence about *field*, as it is written, of *model*; ``None`` where there is none yet."""
    return WORDS.get(f"{model}.{field}") or WORDS.get(f"Matcher.{field}")


class _AsWritten(GenerateJsonSchema):
    """Takes a field for what is written instead of what it becomes."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        function = schema["function"]["function"]
        if function is parse_duration:
            return dict(_DURATION)
        written = super().function_before_schema(schema)
        if function is one_or_more:
            return {"anyOf": [written["items"], {**written, "minItems": 1}]}
        return written

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        # In a file, a field without a value is one that somebody forgot to finish.
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = self.generate_inner(schema["schema"])
        default = schema.get("default")
        if default in (None, (), ""):
            return written
        return {**written, "default": format_duration(default) if written == _DURATION else default}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def _complete(part: JsonSchemaValue) -> None:
    model = part["title"]
    part["description"] = WORDS.get(model, part.get("description", ""))
    for field, written in part["properties"].items():
        form = _FORMS.get(f"{model}.{field}", {})
        known = {} if form.keys() & {"$ref", "anyOf"} else written
        if "anyOf" in known:
            known = {name: value for name, value in known.items() if name != "minLength"}  # it was the list's
        described = {
            "description": words(model, field),
            "examples": EXAMPLES.get(f"{model}.{field}") or EXAMPLES.get(f"Matcher.{field}"),
        }
        part["properties"][field] = {**{k: v for k, v in described.items() if v}, **known, **form}
    part.update(_RULES.get(model, {}))


def _refers(value: Any, target: str) -> bool:
    if isinstance(value, dict):
        return value.get("$ref") == target or any(_refers(each, target) for each in value.values())
    return isinstance(value, list) and any(_refers(each, target) for each in value)


def _condition() -> JsonSchemaValue:
    operators = {name: {"description": OPERATORS.get(name, ""), **_OPERANDS.get(name, _SCALAR)} for name in OPERANDS}
    some = {"type": "array", "items": {**_CONDITION, "minProperties": 1}, "minItems": 1}
    return {
        "title": "Condition",
        "description": WORDS["Condition"],
        "type": "object",
        "properties": {
            name: {"description": words("Condition", name), **some} for name in ("any_of", "all_of", "none_of")
        },
        "additionalProperties": {
            "anyOf": [
                _SCALAR,
                {"type": "object", "properties": operators, "additionalProperties": False, "minProperties": 1},
            ]
        },
    }
