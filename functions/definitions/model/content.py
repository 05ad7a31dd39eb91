"""The content of a campaign, for each channel."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator

from definitions.model import liquid
from definitions.model.field_errors import FieldErrors, join
from definitions.model.fields import Definition, Name
from definitions.model.liquid import LIQUID, LiquidLink, LiquidLongText, LiquidText, WebhookUrl
from definitions.model.popup import PopupContent

MAX_DEPTH = 10
MAX_NUMBER = 2**53  # every JSON reader represents integers up to this exactly
_RESERVED = frozenset({"url", "activation", "aps", "from", "message_type", "notification"})


class EmailContent(Definition):
    """An e-mail, with `text`, `html` or both."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["text"]}, {"required": ["html"]}]})
    example = "subject: Thank you, text: Hello"

    subject: LiquidText = Field(description="Subject, a single line; Liquid.")
    html: LiquidLongText | None = Field(default=None, description="The e-mail as HTML; Liquid.")
    text: LiquidLongText | None = Field(
        default=None, description="The e-mail as plain text; Liquid. If left out, it is made from `html`."
    )

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
    unsupported_fields: ClassVar[Mapping[str, str]] = {"body": "the text of an SMS is called 'text'"}

    text: Annotated[str, StringConstraints(min_length=1, max_length=1600), LIQUID] = Field(
        description="The text, up to 1600 characters; Liquid."
    )


class PushContent(Definition):
    """A notification of the app."""

    example = "title: Hello, body: Your table is ready"
    unsupported_fields: ClassVar[Mapping[str, str]] = {"text": "the text of a push is called 'body'"}

    title: Annotated[str, StringConstraints(min_length=1, max_length=200), LIQUID] = Field(
        description="Headline, up to 200 characters; Liquid."
    )
    body: Annotated[str, StringConstraints(min_length=1, max_length=2000), LIQUID] = Field(
        description="Text below the headline, up to 2000 characters; Liquid."
    )
    url: LiquidLink | None = Field(
        default=None, description="The page that a tap opens: a path, http(s), mailto or tel; Liquid."
    )
    data: Annotated[dict[Name, LiquidText], Field(max_length=20)] = Field(
        default_factory=dict,
        description="Up to 20 names and texts for the app; Liquid.",
        examples=[{"screen": "bonus"}],
    )

    @field_validator("data")
    @classmethod
    def _check_data(cls, data: dict[str, str]) -> dict[str, str]:
        # FCM refuses its own names; the others are ours and would be overwritten.
        reserved = [name for name in data if name in _RESERVED or name.startswith(("google.", "gcm."))]
        if reserved:
            raise FieldErrors(*((name, f"the name '{name}' is reserved: choose another one") for name in reserved))
        return data


def _check_body(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise FieldErrors(("", "must be a map of names and values"))
    found = list(_body_errors(value))
    if found:
        raise FieldErrors(*found)
    return dict(value)


def _body_errors(value: Any, field: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the errors in the Liquid of *value*, and what JSON cannot hold, or not every reader of JSON can."""
    if depth > MAX_DEPTH:
        yield field, f"is nested too deeply: at most {MAX_DEPTH} levels are allowed"
    elif isinstance(value, Mapping):
        for name, each in value.items():
            if not isinstance(name, str):
                yield join(field, str(name)), f"must be text: write '{name}' in quotes"
            yield from _body_errors(each, join(field, str(name)), depth + 1)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _body_errors(each, f"{field}[{number}]", depth + 1)
    else:
        yield from ((field, message) for message in _scalar_errors(value))


def _scalar_errors(value: Any) -> list[str]:
    if value is None:
        return ["is empty: write a value, or remove the line"]
    if isinstance(value, str):
        return liquid.errors(value)
    if not isinstance(value, bool | int | float):
        return ["must be text, a number, true or false, a list or a map"]
    if not abs(value) <= MAX_NUMBER:  # written so that NaN is refused too
        return ["is not a number that every JSON reader can hold: write it in quotes"]
    return []


class WebhookContent(Definition):
    """A signed POST to a server of the company."""

    example = "url: https://hooks.example.com/opportune"
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "method": "a webhook is always a POST",
        "headers": "a webhook only has the headers that identify and sign it; write other values into 'body'",
    }

    url: WebhookUrl = Field(
        description="The address: https, a host of the site's `webhooks`; Liquid in the path and the query only.",
        examples=["https://hooks.example.com/players/{{ customer.id | url_encode }}"],
    )
    body: Annotated[dict[str, Any], BeforeValidator(_check_body)] | None = Field(
        default=None,
        description="The JSON that is sent; every text in it may be Liquid. Default: the activation.",
        examples=[{"player": "{{ customer.id }}", "points": 5}],
    )


Content = PopupContent | EmailContent | SmsContent | PushContent | WebhookContent
CONTENTS: dict[str, type[Content]] = {
    "popup": PopupContent,
    "email": EmailContent,
    "sms": SmsContent,
    "push": PushContent,
    "webhook": WebhookContent,
}
