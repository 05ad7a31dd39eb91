"""The content of a popup: what the site tag shows, where, and for how long."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic.json_schema import JsonSchemaValue

from definitions.model.field_errors import FieldErrors
from definitions.model.fields import Definition, Duration
from definitions.model.liquid import LIQUID, LiquidLink, LiquidLongText, LiquidText

LayoutName = Literal["modal", "banner_top", "banner_bottom", "slide_in", "fullscreen", "inline"]
EXPIRES_MS = 30 * 60_000  # the tag's default


def _check_colour(value: str) -> str:
    digits = value.removeprefix("#")
    if value == digits or len(digits) != 6 or set(digits.lower()) - set("0123456789abcdef"):
        raise FieldErrors(("", f'{value!r} is not a colour: write it in quotes and in full, such as "#7c3aed"'))
    return value


Colour = Annotated[str, AfterValidator(_check_colour), Field(json_schema_extra={"pattern": "^#[0-9A-Fa-f]{6}$"})]


class Action(Definition):
    """A button of a popup."""

    example = "label: Take it, url: /boost"

    label: LiquidText = Field(description="The text on the button; Liquid.")
    url: LiquidLink = Field(
        description="The page that the button opens: a path, http(s), mailto or tel; Liquid.", examples=["/boost"]
    )


class Image(Definition):
    """A picture."""

    example = "url: /boost.jpg, alt: A prize"

    url: LiquidLink = Field(description="Address of the picture: a path, or http(s); Liquid.", examples=["/boost.jpg"])
    alt: Annotated[str, LIQUID] = Field(
        default="",
        description="Description for people who do not see the picture; empty if it only decorates; Liquid.",
    )


class Theme(Definition):
    """The look of a popup."""

    example = 'accent: "#7c3aed"'

    accent: Colour | None = Field(
        default=None,
        description='Colour of the first button, such as "#7c3aed"; its label is black or white, whichever is legible.',
        examples=["#7c3aed"],
    )
    scheme: Literal["light", "dark"] | None = Field(
        default=None, description="`light` or `dark`; if left out, that of the page."
    )


_CLOSES: JsonSchemaValue = {
    "anyOf": [{"properties": {"actions": {"minItems": 1}}, "required": ["actions"]}, {"required": ["dismiss_after"]}]
}


class PopupContent(Definition):
    """A popup on the page, in the response to the event that triggered it."""

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                {"if": {"required": ["html"]}, "then": {"properties": {"body": {"maxLength": 0}}}},
                {"if": {"properties": {"close": {"const": False}}, "required": ["close"]}, "then": _CLOSES},
            ]
        }
    )
    example = "layout: modal, title: Hello"
    unsupported_fields: ClassVar[Mapping[str, str]] = {"text": "the text of a popup is called 'body'"}

    layout: LayoutName = Field(default="modal", description="Where on the page it appears.")
    title: LiquidText = Field(description="Headline; Liquid.", examples=["You are on fire, {{ customer.first_name }}"])
    body: Annotated[str, LIQUID] = Field(default="", description="Text below the headline; Liquid.")
    html: LiquidLongText | None = Field(
        default=None, description="Instead of `body`: HTML, from which everything unsafe is removed; Liquid."
    )
    image: Image | None = Field(default=None, description="A picture.")
    actions: Annotated[tuple[Action, ...], Field(max_length=5)] = Field(
        default=(), description="Up to 5 buttons, the most important one first."
    )
    close: bool = Field(default=True, description="`false`: no close button. Esc still closes the popup.")
    delay: Duration | None = Field(default=None, description="How long the page waits before it shows the popup.")
    expires: Duration | None = Field(
        default=None, description="How long after the match it may still be shown; default: 30m."
    )
    dismiss_after: Duration | None = Field(
        default=None,
        description="It closes by itself after this time, not counting time in which it is hovered, focused or hidden.",
        examples=["8s"],
    )
    theme: Theme | None = Field(default=None, description="Colours; if left out, those of the page.")

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.body and self.html is not None:
            raise FieldErrors(("html", "conflicts with 'body': write 'body' (text) or 'html', not both"))
        if not self.close and not self.actions and self.dismiss_after is None:
            message = "leaves no way to close the popup: write 'actions' or 'dismiss_after', or remove 'close'"
            raise FieldErrors(("close", message))
        if self.delay is not None and self.delay >= (self.expires or EXPIRES_MS):
            within = "'expires'" if self.expires else "30m, after which a popup is no longer shown"
            raise FieldErrors(("delay", f"must be shorter than {within}"))
        return self

    def compiled(self) -> dict[str, Any]:
        """Return the popup as the Engager renders it: times in ms, without defaults and fields that were left out."""
        times = {name: getattr(self, name) for name in ("delay", "expires", "dismiss_after")}
        written = self.model_dump(mode="json", exclude_none=True) | {k: v for k, v in times.items() if v is not None}
        return {name: value for name, value in written.items() if (name, value) != ("close", True)}
