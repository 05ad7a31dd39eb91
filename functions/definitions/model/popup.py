"""The content of a popup: what the site tag paints, how, when and for how long."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from definitions.model.field_errors import FieldErrors
from definitions.model.fields import Definition, Duration, LongText, Text

LayoutName = Literal["modal", "banner_top", "banner_bottom", "slide_in", "fullscreen", "inline"]
SHOWN_WITHIN_MS = 30 * 60_000  # what the tag takes where nothing is said


def _colour(value: str) -> str:
    digits = value.removeprefix("#")
    if value == digits or len(digits) != 6 or set(digits.lower()) - set("0123456789abcdef"):
        raise FieldErrors(("", f'{value!r} is not a colour: write it in quotes and in full, such as "#7c3aed"'))
    return value


class Action(Definition):
    """A button of a popup: its label, and where it leads."""

    example = "label: Take it, url: /boost"

    label: Text
    url: Text


class Image(Definition):
    """A picture: where it is, and what it shows."""

    example = "url: /boost.jpg, alt: A prize"

    url: Text
    alt: str = ""


class Theme(Definition):
    """How a popup is dressed, where not like the page."""

    example = 'accent: "#7c3aed"'

    accent: Annotated[str, AfterValidator(_colour)] | None = None
    scheme: Literal["light", "dark"] | None = None


class PopupContent(Definition):
    """What the tag shows on the page: ``body`` is text, ``html`` becomes what is safe of it; times in ms."""

    example = "layout: modal, title: Hello"
    not_offered: ClassVar[Mapping[str, str]] = {"text": "the text of a popup is called 'body'"}

    layout: LayoutName = "modal"
    title: Text
    body: str = ""
    html: LongText | None = None
    image: Image | None = None
    actions: Annotated[tuple[Action, ...], Field(max_length=5)] = ()
    close: bool = True
    delay: Duration | None = None
    expires: Duration | None = None
    dismiss_after: Duration | None = None
    theme: Theme | None = None

    @model_validator(mode="after")
    def _check_all(self) -> Self:
        if self.body and self.html is not None:
            raise FieldErrors(("html", "stands beside 'body': write 'body' (text) or 'html', not both"))
        if not self.close and not self.actions and self.dismiss_after is None:
            raise FieldErrors(("close", "leaves no way on: write 'actions' or 'dismiss_after', or remove it"))
        if self.delay is not None and self.delay >= (self.expires or SHOWN_WITHIN_MS):
            within = "'expires'" if self.expires else "30m, after which a popup is not shown any more"
            raise FieldErrors(("delay", f"must be shorter than {within}"))
        return self

    def compiled(self) -> dict[str, Any]:
        """Return it as the Engager renders it: times in ms, no field that was left out or says what is so anyway."""
        times = {name: getattr(self, name) for name in ("delay", "expires", "dismiss_after")}
        written = self.model_dump(mode="json", exclude_none=True) | {k: v for k, v in times.items() if v is not None}
        return {name: value for name, value in written.items() if (name, value) != ("close", True)}
