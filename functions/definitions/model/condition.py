"""Conditions in definitions: the ``where`` of an event, and the rule of a target group."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue

from definitions.model.field_errors import FieldErrors
from definitions.model.fields import REFERENCE, Name
from shared.conditions.operands import MAX_LIST, OPERATORS
from shared.conditions.parsing import check_attribute, parse_condition
from shared.conditions.paths import EACH
from shared.errors import InvalidDefinition


def check_condition(value: Any, *, dates: bool) -> dict[str, Any]:
    """Return *value* if it is a valid condition. *dates*: whether relative dates such as ``-30d`` are allowed."""
    try:
        parse_condition(value, field="", dates=dates)
    except InvalidDefinition as error:
        raise FieldErrors((error.field, error.message)) from None
    return dict(value)


def _check_where(value: Any) -> dict[str, Any]:
    return check_condition(value, dates=False)


def _check_rule(value: Any) -> dict[str, Any] | None:
    if value is None:
        return None
    if value == {}:
        raise FieldErrors(("", "an empty rule would match every customer: write 'targets: everyone' in the campaign"))
    return check_condition(value, dates=True)


def _check_attribute_name(name: str) -> str:
    try:
        check_attribute(name, field="")
    except InvalidDefinition as error:
        raise FieldErrors((error.field, error.message)) from None
    return name


def _check_single(name: str) -> str:
    if EACH in name:
        raise FieldErrors(("", f"{name!r} may have several values: name an attribute that has one"))
    return name


CONDITION: JsonSchemaValue = {REFERENCE: "Condition"}
AttributeName = Annotated[Name, AfterValidator(_check_attribute_name)]
SingleAttributeName = Annotated[AttributeName, AfterValidator(_check_single)]
Where = Annotated[dict[str, Any], BeforeValidator(_check_where), WithJsonSchema(CONDITION)]
Rule = Annotated[dict[str, Any], BeforeValidator(_check_rule), WithJsonSchema({**CONDITION, "minProperties": 1})]

_TEXT: JsonSchemaValue = {"type": "string", "minLength": 1}
_SCALAR: JsonSchemaValue = {"type": ["string", "number", "boolean"]}
_ORDERED: JsonSchemaValue = {"type": ["string", "number"]}
_LIST: JsonSchemaValue = {"type": "array", "items": _SCALAR, "minItems": 1, "maxItems": MAX_LIST}
_OPERANDS: dict[str, JsonSchemaValue] = {
    "eq": _SCALAR,
    "ne": _SCALAR,
    "gt": _ORDERED,
    "gte": _ORDERED,
    "lt": _ORDERED,
    "lte": _ORDERED,
    "between": {"type": "array", "items": _ORDERED, "minItems": 2, "maxItems": 2},
    "in": _LIST,
    "not_in": _LIST,
    "contains": _SCALAR,
    "starts_with": _TEXT,
    "ends_with": _TEXT,
    "matches": _TEXT,
    "exists": {"type": "boolean"},
}
_MEMBERS: JsonSchemaValue = {"type": "array", "items": {**CONDITION, "minProperties": 1}, "minItems": 1}


def condition_schema() -> JsonSchemaValue:
    """Return the JSON Schema that `CONDITION` refers to."""
    operators = {name: {"description": operator.meaning, **_OPERANDS[name]} for name, operator in OPERATORS.items()}
    return {
        "title": "Condition",
        "description": "Conditions on attributes, all of which must hold: a value, or operators.",
        "type": "object",
        "properties": {
            "any_of": {"description": "At least one of these conditions holds.", **_MEMBERS},
            "all_of": {"description": "All of these conditions hold.", **_MEMBERS},
            "none_of": {"description": "None of these conditions holds.", **_MEMBERS},
        },
        "additionalProperties": {
            "anyOf": [
                _SCALAR,
                {"type": "object", "properties": operators, "additionalProperties": False, "minProperties": 1},
            ]
        },
    }
