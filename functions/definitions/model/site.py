"""The site, as it is written: its write keys and its sender, and what holds for all its campaigns."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, ValidationInfo, field_validator, model_validator

from definitions.model.delivery import MOST_TIMES
from definitions.model.event import AttributeName, Attributes
from definitions.model.field_errors import FieldErrors
from definitions.model.fields import Definition, Duration, Name, identifier
from definitions.model.identity import Identity, SiteLimits, identity_problems
from definitions.model.times import SiteQuietHours, zone
from definitions.model.urls import HOST

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}")

_KEY_FORMS = {
    "key": ("8 to 200 characters without spaces", r"\S{8,200}"),
    "sha256": ("64 lower-case hexadecimal digits", r"[0-9a-f]{64}"),
    "from_env": ("the name of an environment variable", r"[A-Za-z_][A-Za-z0-9_]*"),
}


_ORIGIN = re.compile(r"(https?)://(?:\*\.)?([a-z0-9.-]{1,253})(?::[0-9]{1,5})?")


def _origin(text: str) -> str:
    """Return an origin as browsers write it; ``*.`` stands for any subdomain."""
    if not _ORIGIN.fullmatch(text.lower()):
        hint = "write scheme and host, without a path: https://shop.example or https://*.shop.example"
        raise FieldErrors(("", f"'{text}' is no origin: {hint}"))
    return text.lower()


class Key(Definition):
    """A write key: a public one is in every page, a secret one only ever in the environment, or hashed."""

    example = "kind: public, key: wk_..."

    kind: Literal["public", "secret"]
    key: str | None = None
    sha256: str | None = None
    from_env: str | None = None
    origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], Field(max_length=50)] = ()
    identity: Literal["off", "log", "enforce"] = "off"

    @field_validator("key", "sha256", "from_env", mode="before")
    @classmethod
    def _explain(cls, value: Any, info: ValidationInfo) -> Any:
        wanted, pattern = _KEY_FORMS[info.field_name or ""]
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise FieldErrors(("", f"must be {wanted}"))
        return value

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.kind == "secret" and self.key is not None:
            raise FieldErrors(
                ("key", "a secret must not be in a file: write 'from_env' and a variable's name, or 'sha256'")
            )
        if self.kind == "secret" and self.origins:
            raise FieldErrors(("origins", "a secret key is never used in a browser: only public keys have origins"))
        if sum(each is not None for each in (self.key, self.sha256, self.from_env)) != 1:
            raise FieldErrors(("", "needs exactly one of 'key' (public keys only), 'sha256' and 'from_env'"))
        return self


class Sender(Definition):
    """Who e-mails come from: ``address`` must be verified in SES."""

    example = "address: offers@shop.example, name: The shop"

    address: str
    name: str = ""

    @field_validator("address")
    @classmethod
    def _check_address(cls, value: str) -> str:
        if not _ADDRESS.fullmatch(value):
            raise FieldErrors(("", f"'{value}' is not an e-mail address"))
        return value


class Cap(Definition):
    """At most ``max`` within any ``per`` (ms)."""

    example = "max: 3, per: 24h"
    not_offered: ClassVar[Mapping[str, str]] = {"times": "here the number is called 'max'", "within": "write 'per'"}

    max: Annotated[StrictInt, Field(ge=1, le=MOST_TIMES)]
    per: Duration


class Caps(Definition):
    """What one customer may get from all campaigns together, per channel and of all channels."""

    example = "popup: {max: 3, per: 24h}"

    popup: Cap | None = None
    email: Cap | None = None
    sms: Cap | None = None
    push: Cap | None = None
    webhook: Cap | None = None
    total: Cap | None = None


class Consent(Definition):
    """The attribute of customers that must be true, per channel."""

    example = "sms: sms_consent"
    not_offered: ClassVar[Mapping[str, str]] = {
        "popup": "a popup is shown to whoever is on the page anyway; 'targets' says to whom"
    }

    email: AttributeName | None = None
    sms: AttributeName | None = None
    push: AttributeName | None = None
    webhook: AttributeName | None = None


Rate = Annotated[StrictInt, Field(ge=1, le=1_000_000)]


class Rates(Definition):
    """How many may be sent in a minute, per channel."""

    example = "email: 600"
    not_offered: ClassVar[Mapping[str, str]] = {"popup": "a popup is an answer, and an answer cannot wait for a minute"}

    email: Rate | None = None
    sms: Rate | None = None
    push: Rate | None = None
    webhook: Rate | None = None


def _host(name: str) -> str:
    if not HOST.fullmatch(name.lower()):
        hint = "write the name alone, such as hooks.example.com"
        raise FieldErrors(("", f"'{name}' is not the name of a host: {hint}"))
    return name.lower()


class Webhooks(Definition):
    """Where webhooks may go."""

    example = "hosts: [hooks.example.com]"

    hosts: Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], Field(min_length=1, max_length=100)]


class Site(Definition):
    """One website or app, with its write keys."""

    example = "id: shop, name: The shop"
    not_offered: ClassVar[Mapping[str, str]] = {
        "events": "events have files of their own: one each, in the folder events/",
    }

    id: Annotated[str, identifier(32)]
    name: Name
    timezone: Annotated[str, zone()] = "UTC"
    keys: Annotated[tuple[Key, ...], Field(min_length=1)]
    sender: Sender | None = None
    caps: Caps | None = None
    quiet_hours: SiteQuietHours | None = None
    consent: Consent | None = None
    sends_per_minute: Rates | None = None
    webhooks: Webhooks | None = None
    identity: Identity | None = None
    limits: SiteLimits | None = None
    customer_attributes: Attributes | None = None

    @model_validator(mode="after")
    def _check_identity(self) -> Self:
        found = list(identity_problems(self.keys, self.identity))
        if found:
            raise FieldErrors(*found)
        return self
