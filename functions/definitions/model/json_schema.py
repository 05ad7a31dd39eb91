"""JSON Schema of what people write, made from the models, with a sentence about every field.

The models say what a definition becomes (durations are milliseconds, one event name is a list of one); the
schema says what is written, so that an editor can complete it and check it on the way. The schema finds most
mistakes, `definitions.model.definitions.validate` all of them.
"""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from definitions.model.event import TYPES, in_short
from definitions.model.fields import Definition, format_duration, one_or_more, parse_duration, parse_share
from definitions.model.forms import CONDITION, FORMS, OPERAND_FORMS, RULES, SCALAR
from definitions.model.words import EXAMPLES, OPERATORS, WORDS
from shared.conditions.operands import OPERANDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_DURATION: JsonSchemaValue = {"type": "string", "pattern": "^0*[1-9][0-9]*[smhd]$"}
_SHARE: JsonSchemaValue = {"type": "string", "pattern": r"^[0-9]{1,2}(\.[0-9]{1,2})?%$"}


def schema(model: type[Definition]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of *model* as it is written."""
    made = model.model_json_schema(by_alias=True, schema_generator=_AsWritten)
    parts = made.get("$defs", {})
    for part in (made, *parts.values()):
        _complete(part)
    if _refers(made, CONDITION["$ref"]):
        made["$defs"] = {"Condition": _condition(), **parts}
    return {"$schema": DIALECT, **made}


def words(model: str, field: str) -> str | None:
    """Return the sentence about *field*, as it is written, of *model*; ``None`` where there is none yet."""
    return next((found for name in _kin(model) if (found := WORDS.get(f"{name}.{field}"))), None)


def _kin(model: str) -> tuple[str, ...]:
    """Return *model* and those whose fields it has, too."""
    return (model, "QuietHours") if model == "SiteQuietHours" else (model, "Matcher")


class _AsWritten(GenerateJsonSchema):
    """Takes a field for what is written instead of what it becomes."""

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> JsonSchemaValue:
        function = schema["function"]["function"]
        if function is parse_duration:
            return dict(_DURATION)
        if function is parse_share:
            return dict(_SHARE)
        written = super().function_before_schema(schema)
        if function is in_short:
            return {"anyOf": [{"enum": list(TYPES)}, written]}
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
        if written == _DURATION:
            return {**written, "default": format_duration(default)}
        return {**written, "default": list(default) if isinstance(default, tuple) else default}

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def _complete(part: JsonSchemaValue) -> None:
    model = part["title"]
    part["description"] = WORDS.get(model, part.get("description", ""))
    for field, written in part["properties"].items():
        form = FORMS.get(f"{model}.{field}", {})
        known = {} if form.keys() & {"$ref", "anyOf"} else written
        if "anyOf" in known:
            known = {name: value for name, value in known.items() if name != "minLength"}  # it was the list's
        described = {
            "description": words(model, field),
            "examples": next((found for name in _kin(model) if (found := EXAMPLES.get(f"{name}.{field}"))), None),
        }
        part["properties"][field] = {**{k: v for k, v in described.items() if v}, **known, **form}
    part.update(RULES.get(model, {}))


def _refers(value: Any, target: str) -> bool:
    if isinstance(value, dict):
        return value.get("$ref") == target or any(_refers(each, target) for each in value.values())
    return isinstance(value, list) and any(_refers(each, target) for each in value)


def _condition() -> JsonSchemaValue:
    operators = {name: {"description": OPERATORS.get(name, ""), **OPERAND_FORMS.get(name, SCALAR)} for name in OPERANDS}
    some = {"type": "array", "items": {**CONDITION, "minProperties": 1}, "minItems": 1}
    return {
        "title": "Condition",
        "description": WORDS["Condition"],
        "type": "object",
        "properties": {
            name: {"description": words("Condition", name), **some} for name in ("any_of", "all_of", "none_of")
        },
        "additionalProperties": {
            "anyOf": [
                SCALAR,
                {"type": "object", "properties": operators, "additionalProperties": False, "minProperties": 1},
            ]
        },
    }
