"""The site, as people write it: its write keys, its sender, and what applies to all its campaigns."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    field_validator,
    model_validator,
)

from definitions.model.condition import SingleAttributeName
from definitions.model.delivery import MAX_TIMES
from definitions.model.event import Attributes
from definitions.model.field_errors import FieldErrors
from definitions.model.fields import Definition, Duration, Name, ShortIdentifier
from definitions.model.identity import Identity, SiteLimits, identity_errors
from definitions.model.times import SiteQuietHours, zone
from definitions.model.urls import HOST
from shared import origins
from shared.addresses import InvalidAddress, ascii_host, email_address

_ADDRESS_PATTERN = r"^[!-?A-~]{1,64}@[^@\s]+\.[^@\s.]{2,}$"
_ORIGIN_ADVICE = (
    "write scheme and host, without a path: https://shop.example, https://*.shop.example or capacitor://localhost"
)


def check_origin(text: str) -> str:
    """Return an origin in lower case, as browsers send it; ``*.`` stands for any subdomain."""
    origin = origins.parse(text)
    if origin is None:
        advice = "write the domain as browsers send it, with xn--" if not text.isascii() else _ORIGIN_ADVICE
        raise FieldErrors(("", f"'{text}' is not an origin: {advice}"))
    if origin.wildcard and "." not in origin.host and origin.host != "localhost":
        raise FieldErrors(("", f"'{text}' covers everything under .{origin.host}: name a domain of your own"))
    return text.lower()


def _check_pattern(pattern: str, form: str) -> BeforeValidator:
    def check(value: Any) -> Any:
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise FieldErrors(("", f"must be {form}"))
        return value

    return BeforeValidator(check)


_KEY = r"\S{8,200}"
_HASH = "[0-9a-f]{64}"
_VARIABLE = "[A-Za-z_][A-Za-z0-9_]*"


class Key(Definition):
    """A write key: `key`, `sha256` or `from_env`."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [{"required": [field]} for field in ("key", "sha256", "from_env")],
            "if": {"properties": {"kind": {"const": "secret"}}, "required": ["kind"]},
            "then": {"not": {"required": ["key"]}},
        }
    )
    example = "kind: public, key: wk_..."

    kind: Literal["public", "secret"] = Field(
        description="`public`: in every page, may send events; `secret`: on servers only, may send history too."
    )
    key: Annotated[str, _check_pattern(_KEY, "8 to 200 characters without spaces")] | None = Field(
        default=None,
        description="The key itself, 8 to 200 characters; public keys only.",
        json_schema_extra={"pattern": f"^{_KEY}$"},
    )
    sha256: Annotated[str, _check_pattern(_HASH, "64 lower-case hexadecimal digits")] | None = Field(
        default=None,
        description="SHA-256 of the key, 64 lower-case hexadecimal digits.",
        json_schema_extra={"pattern": f"^{_HASH}$"},
    )
    from_env: Annotated[str, _check_pattern(_VARIABLE, "the name of an environment variable")] | None = Field(
        default=None,
        description="Name of the environment variable that holds the key.",
        examples=["OPPORTUNE_SECRET_KEY"],
        json_schema_extra={"pattern": f"^{_VARIABLE}$"},
    )
    origins: Annotated[tuple[Annotated[str, AfterValidator(check_origin)], ...], Field(max_length=50)] = Field(
        default=(),
        description="The origins that may use a public key: pages, and apps such as `capacitor://localhost`; "
        "default: all.",
        examples=[["https://shop.example", "https://*.shop.example"]],
    )
    identity: Literal["off", "log", "enforce"] = Field(
        default="off",
        description="User ids without a proof: `off` and `log` accept them, `log` counts them, `enforce` ignores them; "
        "public keys only.",
    )

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.kind == "secret" and self.key is not None:
            message = "a secret must not be in a file: write 'from_env' with the name of a variable, or 'sha256'"
            raise FieldErrors(("key", message))
        if self.kind == "secret" and self.origins:
            raise FieldErrors(("origins", "only public keys have origins, because a secret key is never in a browser"))
        if sum(each is not None for each in (self.key, self.sha256, self.from_env)) != 1:
            raise FieldErrors(("", "needs exactly one of 'key' (public keys only), 'sha256' and 'from_env'"))
        return self


class Sender(Definition):
    """The sender of e-mails."""

    example = "address: offers@shop.example, name: The shop"

    address: str = Field(
        description="E-mail address that SES has verified.",
        examples=["offers@shop.example"],
        json_schema_extra={"pattern": _ADDRESS_PATTERN},
    )
    name: str = Field(default="", description="Name next to the address.")
    reply_to: str | None = Field(
        default=None,
        description="E-mail address that gets the answers; default: `address`.",
        examples=["help@shop.example"],
        json_schema_extra={"pattern": _ADDRESS_PATTERN},
    )

    @field_validator("address", "reply_to")
    @classmethod
    def _check_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            address = email_address(value)
        except InvalidAddress as error:
            raise FieldErrors(("", f"'{value}' is not an e-mail address: {error.message}")) from error
        if not HOST.fullmatch(address.rpartition("@")[2]):
            raise FieldErrors(("", f"'{value}' is not an e-mail address: the domain is not a public name"))
        return address


class Cap(Definition):
    """At most so many within any period of this length."""

    example = "max: 3, per: 24h"
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "times": "here the number is called 'max'",
        "within": "write 'per'",
    }

    max: Annotated[StrictInt, Field(ge=1, le=MAX_TIMES)] = Field(description="Number of messages, 1 to 50.")
    per: Duration = Field(description="Length of the period, at most 90d.", examples=["24h"])


class Caps(Definition):
    """How much one customer may get from all campaigns together, per channel or in `total`."""

    example = "popup: {max: 3, per: 24h}"

    popup: Cap | None = Field(default=None, description="Cap of popups.")
    email: Cap | None = Field(default=None, description="Cap of e-mails.")
    sms: Cap | None = Field(default=None, description="Cap of text messages.")
    push: Cap | None = Field(default=None, description="Cap of pushes.")
    webhook: Cap | None = Field(default=None, description="Cap of webhooks.")
    total: Cap | None = Field(default=None, description="Cap of all channels together.")


class Consent(Definition):
    """Which customers may get messages, per channel: those whose attribute of this name is true."""

    example = "sms: sms_consent"
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "popup": "popups need no consent, because the customer is on the page already; 'targets' limits who sees them"
    }

    email: SingleAttributeName | None = Field(default=None, description="Attribute that must be true for e-mails.")
    sms: SingleAttributeName | None = Field(default=None, description="Attribute that must be true for text messages.")
    push: SingleAttributeName | None = Field(default=None, description="Attribute that must be true for pushes.")
    webhook: SingleAttributeName | None = Field(default=None, description="Attribute that must be true for webhooks.")


Rate = Annotated[StrictInt, Field(ge=1, le=1_000_000)]


class Rates(Definition):
    """How many messages may be sent in a minute, per channel."""

    example = "email: 600"
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "popup": "a popup is part of a response, and a response cannot wait"
    }

    email: Rate | None = Field(default=None, description="E-mails a minute, 1 to 1000000.")
    sms: Rate | None = Field(default=None, description="Text messages a minute, 1 to 1000000.")
    push: Rate | None = Field(default=None, description="Pushes a minute, 1 to 1000000.")
    webhook: Rate | None = Field(default=None, description="Webhooks a minute, 1 to 1000000.")


def _check_host(name: str) -> str:
    host = ascii_host(name)
    if host is None or not HOST.fullmatch(host):
        hint = "write the name alone, such as hooks.example.com"
        raise FieldErrors(("", f"'{name}' is not a host name: {hint}"))
    return host


class Webhooks(Definition):
    """The hosts that webhooks may go to."""

    example = "hosts: [hooks.example.com]"

    hosts: Annotated[tuple[Annotated[str, AfterValidator(_check_host)], ...], Field(min_length=1, max_length=100)] = (
        Field(
            description="Up to 100 host names, without ports; subdomains are not included.",
            examples=[["hooks.example.com"]],
        )
    )


class Site(Definition):
    """One website or app, with its write keys."""

    example = "id: shop, name: The shop"
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "events": "write each event into its own file in the folder events/",
    }

    id: ShortIdentifier = Field(description="Id of the site: letters a-z, digits and '-'.")
    name: Name = Field(description="Name of the site, for people.")
    timezone: Annotated[str, zone()] = Field(
        default="UTC", description="Time zone of the site, an IANA name.", examples=["Europe/Vienna"]
    )
    keys: Annotated[tuple[Key, ...], Field(min_length=1)] = Field(
        description="Write keys, which identify the site that an event belongs to."
    )
    sender: Sender | None = Field(default=None, description="The sender of e-mails; needed for e-mails.")
    caps: Caps | None = Field(
        default=None,
        description="How much one customer may get from all campaigns together.",
        examples=[{"popup": {"max": 3, "per": "24h"}}],
    )
    quiet_hours: SiteQuietHours | None = Field(
        default=None, description="Hours of every day in which nothing is sent, for all campaigns of some channels."
    )
    consent: Consent | None = Field(
        default=None,
        description="Which customers may get messages, per channel.",
        examples=[{"sms": "sms_consent"}],
    )
    sends_per_minute: Rates | None = Field(
        default=None,
        description="How many messages may be sent in a minute, per channel; the others wait.",
        examples=[{"email": 600}],
    )
    webhooks: Webhooks | None = Field(
        default=None, description="The hosts that webhooks may go to; needed for webhooks."
    )
    identity: Identity | None = Field(
        default=None, description="How users prove who they are, for public keys that require it."
    )
    limits: SiteLimits | None = Field(default=None, description="How much the site accepts from one user.")
    adapters: list[Literal["posthog", "snowplow", "pinpoint"]] = Field(
        default=[],
        max_length=3,
        description="Other products whose libraries may send events to this site; default: none.",
        examples=[["posthog"]],
    )
    customer_attributes: Attributes | None = Field(
        default=None,
        description="The attributes of customers and their types, to check conditions with.",
        examples=[{"tier": {"type": "text", "one_of": ["vip", "gold"]}, "last_login": "date"}],
    )

    @model_validator(mode="after")
    def _check_identity(self) -> Self:
        found = list(identity_errors(self.keys, self.identity))
        if found:
            raise FieldErrors(*found)
        return self
