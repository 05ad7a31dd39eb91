"""The content of a campaign, per channel; every text may be Liquid."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from console.definitions_errors import Complaints
from console.definitions_model import Definition, Text

LayoutName = Literal["modal", "banner_top", "banner_bottom", "slide_in", "fullscreen", "inline"]
LongText = Annotated[str, StringConstraints(min_length=1, max_length=200_000)]


class Action(Definition):
    """A button of a popup: its label, and where it leads."""

    example = "label: Take it, url: /boost"

    label: Text
    url: Text


class PopupContent(Definition):
    """What the tag shows on the page."""

    example = "layout: modal, title: Hello"

    layout: LayoutName = "modal"
    title: Text
    body: str = ""
    actions: Annotated[tuple[Action, ...], Field(max_length=5)] = ()


class EmailContent(Definition):
    """An e-mail: a text part is made from ``html`` where there is none."""

    example = "subject: Thank you, text: Hello"

    subject: Text
    html: LongText | None = None
    text: LongText | None = None

    @field_validator("subject")
    @classmethod
    def _check_subject(cls, subject: str) -> str:
        if "\n" in subject.strip() or "\r" in subject.strip():
            raise Complaints(("", "must be a single line"))
        return subject

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.html is None and self.text is None:
            raise Complaints(("text", "is missing: an e-mail needs 'text', 'html' or both"))
        return self


Content = PopupContent | EmailContent
