"""The target group, as people write it: a rule, a list, or a combination of other groups."""

from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from definitions.model.condition import Rule
from definitions.model.field_errors import FieldErrors
from definitions.model.fields import Definition, Identifier, Name

UPLOADED = "uploaded"
MAX_GROUPS = 100
_COMBINATIONS = ("any_of", "all_of", "none_of")


def _check_others(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise FieldErrors(("", f"must be a list of target groups: write [{value}]"))
    if not isinstance(value, list | tuple) or not value:
        raise FieldErrors(("", "must be a list of target groups, such as [vip-players]"))
    for number, name in enumerate(value):
        if not isinstance(name, str) or not name:
            raise FieldErrors((f"[{number}]", "must be the id of a target group; write conditions below 'rule'"))
        if name == "everyone":
            message = "everyone is not a target group; 'none_of' alone means all customers except those groups"
            raise FieldErrors((f"[{number}]", message))
    return tuple(value)


def _check_list(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    if value == UPLOADED:
        return ()
    if isinstance(value, str):
        message = "must be a list of user ids, or 'uploaded'; only a folder of definitions may name a file here"
        raise FieldErrors(("", message))
    return handler(value)


Others = Annotated[
    tuple[str, ...],
    BeforeValidator(_check_others),
    Field(max_length=MAX_GROUPS),
    WithJsonSchema(
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "maxItems": MAX_GROUPS}
    ),
]


class TargetGroup(Definition):
    """A named set of users: a rule about customers, a list, or other groups combined. All fields must hold."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [field]} for field in ("rule", "list", *_COMBINATIONS)],
            "not": {"required": ["rule", "list"]},
        }
    )
    example = "id: vip-players, rule: {tier: vip}"

    id: Identifier = Field(description="Id of the target group, unique in the site: letters a-z, digits and '-'.")
    name: Name | None = Field(default=None, description="Name of the target group, for people.")
    rule: Rule | None = Field(
        default=None,
        description="Conditions on customers' attributes, all of which must hold; dates may be relative: -30d.",
        examples=[{"tier": "vip"}, {"last_login": {"gte": "-30d"}}],
    )
    # Empty for a list that is uploaded.
    list: Annotated[tuple[Name, ...], Field(min_length=1), WrapValidator(_check_list)] | None = Field(
        default=None,
        description="User ids, the name of a file in the folder with one user id per line, or `uploaded`.",
        examples=[["user-1", "user-2"]],
    )
    any_of: Others | None = Field(default=None, description="Target groups: a user must be in at least one.")
    all_of: Others | None = Field(default=None, description="Target groups: a user must be in all of them.")
    none_of: Others | None = Field(
        default=None, description="Target groups: a user must be in none; alone: all customers except these."
    )

    @property
    def is_uploaded(self) -> bool:
        """Return whether its users come from an uploaded list."""
        return self.list == ()

    @property
    def others(self) -> Iterator[tuple[str, str]]:
        """Yield the field and the id of each group that it is made of."""
        for field in _COMBINATIONS:
            for number, name in enumerate(getattr(self, field) or ()):
                yield f"{field}[{number}]", name

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.rule is None and self.list is None and not any(self.others):
            message = (
                "needs 'rule' (a condition on customers), 'list' (user ids), or other groups: "
                "'any_of', 'all_of', 'none_of'"
            )
            raise FieldErrors(("", message))
        if self.rule is not None and self.list is not None:
            message = "has 'rule' and 'list': write a group for each, and a third with 'any_of' or 'all_of' of them"
            raise FieldErrors(("", message))
        found = list(_contradictions(self))
        if found:
            raise FieldErrors(*found)
        return self


def _contradictions(group: TargetGroup) -> Iterator[tuple[str, str]]:
    excluded = set(group.none_of or ())
    for number, name in enumerate(group.all_of or ()):
        if name in excluded:
            yield f"all_of[{number}]", f"the group is always empty, because '{name}' is in 'none_of' too: remove one"
    if group.any_of and excluded.issuperset(group.any_of):
        yield "any_of", "the group is always empty, because all of these are in 'none_of' too: remove some"
