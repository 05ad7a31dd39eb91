"""Definitions: what people write about a site, its target groups and its campaigns.

The same models stand behind files and the admin API. `validate` turns data into them, or says in sentences
what is wrong and where; ``Definitions`` also checks what one definition says about another.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from console.content import check_content
from console.definitions_content import Action, EmailContent, PopupContent
from console.definitions_errors import Complaints, InvalidDefinitions, suggestion, validate
from console.definitions_model import Definition, Name, identifier
from console.definitions_site import Key, Sender, Site
from console.definitions_trigger import Matcher, Step, Trigger, Unless, never_fires
from shared import conditions
from shared.errors import InvalidDefinition

__all__ = [
    "Action",
    "Campaign",
    "Definitions",
    "EmailContent",
    "InvalidDefinitions",
    "Key",
    "Matcher",
    "PopupContent",
    "Sender",
    "Site",
    "Step",
    "TargetGroup",
    "Trigger",
    "Unless",
    "cross_check",
    "validate",
]


class TargetGroup(Definition):
    """A named set of users: those whose attributes meet ``rule``, or those in ``list``."""

    example = "id: vip-players, rule: {tier: vip}"

    id: Annotated[str, identifier(64)]
    name: Name | None = None
    rule: dict[str, Any] | None = None
    list: Annotated[tuple[Name, ...], Field(min_length=1)] | None = None

    @field_validator("rule", mode="before")
    @classmethod
    def _check_rule(cls, value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        if value == {}:
            raise Complaints(("", "an empty rule would be everybody: write 'targets: everyone' in the campaign"))
        try:
            conditions.parse(value, field="", dates=True)
        except InvalidDefinition as error:
            raise Complaints((error.field, error.message)) from None
        return dict(value)

    @field_validator("list", mode="before")
    @classmethod
    def _check_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise Complaints(("", "must be a list of user ids; a file can be named in a folder of definitions only"))
        return value

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.rule is None) == (self.list is None):
            raise Complaints(("", "needs either 'rule' (a condition on customers) or 'list' (user ids)"))
        return self


def _targets(value: Any) -> tuple[str, ...] | Literal["everyone"]:
    if value == "everyone":
        return "everyone"
    if isinstance(value, str):
        raise Complaints(("", f"must be a list of target groups, or everyone: write [{value}]"))
    if not isinstance(value, list | tuple) or not value:
        raise Complaints(("", "must be a list of target groups such as [vip-players], or everyone"))
    for number, name in enumerate(value):
        if not isinstance(name, str) or not name:
            raise Complaints((f"[{number}]", "must be the id of a target group"))
        if name == "everyone":
            raise Complaints((f"[{number}]", "everyone includes all groups: write 'targets: everyone'"))
    return tuple(value)


class Campaign(Definition):
    """Trigger, target groups, channel and content."""

    example = "id: three-wins, name: Three wins"
    not_offered: ClassVar[Mapping[str, str]] = {
        "sequence": "the pattern stands in 'trigger': indent it below 'trigger:'"
    }

    id: Annotated[str, identifier(64)]
    name: Name
    targets: Annotated[tuple[str, ...] | Literal["everyone"], BeforeValidator(_targets)]
    trigger: Trigger
    channel: Literal["popup", "email"]
    content: PopupContent | EmailContent

    @field_validator("trigger")
    @classmethod
    def _check_trigger(cls, trigger: Trigger) -> Trigger:
        found = list(never_fires(trigger))
        if found:
            raise Complaints(*found)
        return trigger

    @field_validator("channel", mode="before")
    @classmethod
    def _check_channel(cls, value: Any, info: ValidationInfo) -> Any:
        if value in ("sms", "push", "webhook"):
            raise Complaints(("", f"the channel {value} does not exist yet: write popup or email"))
        trigger = info.data.get("trigger")
        if value == "popup" and trigger is not None and trigger.unless is not None:
            message = "an absence ('unless') has no answer that a popup could come back in; use channel email"
            raise Complaints(("", message))
        return value

    @field_validator("content", mode="before")
    @classmethod
    def _check_content(cls, value: Any, info: ValidationInfo) -> Any:
        channel = info.data.get("channel")
        if channel is None:
            raise Complaints  # nothing to add: the channel is refused, and without one all may be right
        content = (PopupContent if channel == "popup" else EmailContent).model_validate(value)
        found = check_content(content)
        if found:
            raise Complaints(
                *(
                    (each.field, f"{each.message} (line {each.line}, column {each.column} of the text)")
                    for each in found
                )
            )
        return content


class Definitions(Definition):
    """All that is defined for one site."""

    example = "site: {...}, groups: [...], campaigns: [...]"

    site: Site
    groups: tuple[TargetGroup, ...] = ()
    campaigns: tuple[Campaign, ...] = ()

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        found = cross_check(self.site, self.groups, self.campaigns)
        if found:
            raise Complaints(*found)
        return self


def cross_check(
    site: Site | None,
    groups: Sequence[TargetGroup],
    campaigns: Sequence[Campaign],
    *,
    other_groups: Collection[str] = (),
) -> list[tuple[str, str]]:
    """Return field (``campaigns[0].targets[1]``) and message of what does not fit together.

    *site*: ``None`` where it is not known. *other_groups*: ids of groups that exist besides *groups*.
    """
    found: list[tuple[str, str]] = []
    for kind, what, ids in (
        ("groups", "target group", [group.id for group in groups]),
        ("campaigns", "campaign", [campaign.id for campaign in campaigns]),
    ):
        twice = {name for name, count in Counter(ids).items() if count > 1}
        found += [
            (f"{kind}[{number}].id", f"another {what} has the id '{name}' too")
            for number, name in enumerate(ids)
            if name in twice and name in ids[:number]
        ]
    known = {group.id for group in groups} | set(other_groups)
    for number, campaign in enumerate(campaigns):
        for position, name in enumerate(() if campaign.targets == "everyone" else campaign.targets):
            if name not in known:
                hint = suggestion(name, known) or f"; known: {', '.join(sorted(known)) or 'none'}"
                found.append((f"campaigns[{number}].targets[{position}]", f"there is no target group '{name}'{hint}"))
        if campaign.channel == "email" and site is not None and site.sender is None:
            message = "e-mails need a sender: add 'sender' with 'address' and 'name' to the site"
            found.append((f"campaigns[{number}].channel", message))
    return found
