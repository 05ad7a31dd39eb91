"""JSON Schema of what people write, made from the models, so that an editor can complete and check it.

The models describe what a definition becomes: a duration is milliseconds, a single event name is a list of one. The
schema describes what people write. It finds most mistakes; `definitions.checks.check` finds all of them.
"""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from definitions.model.condition import CONDITION, condition_schema
from definitions.model.fields import DURATION_SCHEMA, REFERENCE, Definition, format_duration

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FIRST = ("title", "description", "examples")


def schema(model: type[Definition]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of *model* as people write it."""
    made = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    if _contains(made, CONDITION):
        made["$defs"] = {"Condition": condition_schema(), **made.get("$defs", {})}
    return {"$schema": DIALECT, **_finished(made)}


class _Generator(GenerateJsonSchema):
    """Leaves out what only concerns Python: null, empty defaults and the titles of fields."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        # In a file, null is an unfinished line.
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        written = self.generate_inner(schema["schema"])
        default = schema.get("default")
        if default in (None, (), ""):
            return written
        if written == DURATION_SCHEMA:
            return {**written, "default": format_duration(default)}
        return {**written, "default": list(default) if isinstance(default, tuple) else default}

    def handle_ref_overrides(self, json_schema: JsonSchemaValue) -> JsonSchemaValue:
        # Some editors only show a description that stands next to the reference, even if it repeats the definition's.
        return json_schema

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def _finished(part: Any) -> Any:
    """Return *part* with the keywords for people first, and with our references as JSON Schema's."""
    if isinstance(part, list):
        return [_finished(each) for each in part]
    if not isinstance(part, dict):
        return part
    keys = sorted(part, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
    finished: dict[str, Any] = {}
    for key in keys:
        if key == REFERENCE:
            finished["$ref"] = f"#/$defs/{part[key]}"
        else:
            finished[key] = part[key] if key in ("examples", "default") else _finished(part[key])
    return finished


def _contains(value: Any, wanted: JsonSchemaValue) -> bool:
    if isinstance(value, dict):
        return all(value.get(name) == each for name, each in wanted.items()) or any(
            _contains(each, wanted) for each in value.values()
        )
    return isinstance(value, list) and any(_contains(each, wanted) for each in value)
