"""The content of a campaign, per channel; every text may be Liquid."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, Field, StringConstraints, field_validator, model_validator

from definitions.model.field_errors import FieldErrors, join
from definitions.model.fields import Definition, LongText, Name, Text
from definitions.model.popup import PopupContent

MAX_DEPTH = 10
_TAKEN = frozenset({"url", "activation", "aps", "from", "message_type", "notification"})
MAX_NUMBER = 2**53  # what every reader of JSON holds exactly


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
            raise FieldErrors(("", "must be a single line"))
        return subject

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        if self.html is None and self.text is None:
            raise FieldErrors(("text", "is missing: an e-mail needs 'text', 'html' or both"))
        return self


class SmsContent(Definition):
    """A text message."""

    example = "text: Your table is ready"
    not_offered: ClassVar[Mapping[str, str]] = {"body": "the text of an SMS is called 'text'"}

    text: Annotated[str, StringConstraints(min_length=1, max_length=1600)]


class PushContent(Definition):
    """A notification of the app: ``url`` is opened by a tap, ``data`` is for the app."""

    example = "title: Hello, body: Your table is ready"
    not_offered: ClassVar[Mapping[str, str]] = {"text": "the text of a push is called 'body'"}

    title: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    body: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    url: Text | None = None
    data: Annotated[dict[Name, Text], Field(max_length=20)] = Field(default_factory=dict)

    @field_validator("data")
    @classmethod
    def _check_data(cls, data: dict[str, str]) -> dict[str, str]:
        # FCM refuses its own words; ours would be overwritten.
        taken = [name for name in data if name in _TAKEN or name.startswith(("google.", "gcm."))]
        if taken:
            raise FieldErrors(*((name, f"the name '{name}' is taken: choose another one") for name in taken))
        return data


def _check_body(value: Any) -> Any:
    if value is None:
        return None
    found = [("", "must be a map of names and values")] if not isinstance(value, Mapping) else list(_not_json(value))
    if found:
        raise FieldErrors(*found)
    return dict(value)


def _not_json(value: Any, field: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield what in *value* cannot be sent as JSON, and be the same there as here."""
    if depth > MAX_DEPTH:
        yield field, f"is nested too deeply: {MAX_DEPTH} levels are the most"
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if not isinstance(name, str):
                yield join(field, str(name)), f"must be text: write '{name}' in quotes"
            yield from _not_json(each, join(field, str(name)), depth + 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _not_json(each, f"{field}[{number}]", depth + 1)
    elif value is None:
        yield field, "is empty: write a value, or remove the line"
    elif not isinstance(value, str | bool | int | float):
        yield field, "must be text, a number, true or false, a list or a map"
    elif isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:  # so that it is true of nan too
        yield field, "is no number that every reader of JSON can hold: write it in quotes"


class WebhookContent(Definition):
    """A request to a server of the company: ``body`` is JSON, its texts are Liquid."""

    example = "url: https://hooks.example.com/opportune"
    not_offered: ClassVar[Mapping[str, str]] = {
        "method": "a webhook is always a POST",
        "headers": "a webhook has the headers that sign and name it, and no others; write what is needed into 'body'",
    }

    url: Text
    body: Annotated[dict[str, Any], BeforeValidator(_check_body)] | None = None


Content = PopupContent | EmailContent | SmsContent | PushContent | WebhookContent
CONTENTS: dict[str, type[Content]] = {
    "popup": PopupContent,
    "email": EmailContent,
    "sms": SmsContent,
    "push": PushContent,
    "webhook": WebhookContent,
}
