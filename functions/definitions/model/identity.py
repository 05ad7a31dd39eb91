"""How a site's users prove who they are, and how many events one user may send, as people write it."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, field_validator, model_validator

from definitions.model.field_errors import FieldErrors
from definitions.model.fields import Definition, Duration, Identifier, Name
from shared.channels import CHANNELS

DAY_MS = 86_400_000
MAX_EVENTS = 1000  # the state store remembers that many times per user
MIN_RSA_BITS = 2048
PUBLIC_KEY_ALGORITHMS = ("RS256", "ES256")
_COOKIE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def _check_trait(name: str) -> str:
    if any(character in name for character in ".$\0"):
        raise FieldErrors(("", f"'{name}' is not the name of an attribute: write it without '.' and '$'"))
    return name


def _check_cookie_name(name: str) -> str:
    if not _COOKIE_NAME.fullmatch(name):
        message = (
            f"{name!r} is not the name of a cookie: use 1 to 64 letters, digits and characters such as '-' and '_'"
        )
        raise FieldErrors(("", message))
    return name


class IdentityKey(Definition):
    """A key that proves user ids: the site's servers sign tokens, or hash user ids, with it."""

    example = "id: spring-2026, algorithm: HS256"
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "secret": "a secret must not be in a file; this one is derived, and `opportune keys identity` shows it",
        "private_key": "keep it where tokens are signed, and write its 'public_key' here",
    }

    id: Identifier = Field(
        description="Id of the key, the `kid` of a token: letters a-z, digits and '-'.", examples=["spring-2026"]
    )
    algorithm: Literal["HS256", "RS256", "ES256", "user_hash"] = Field(
        description="How tokens are signed; `user_hash`: no token, but a hash of the user id."
    )
    public_key: str | None = Field(
        default=None, description="Public key in PEM, for RS256 and ES256; the others have a derived secret."
    )

    @field_validator("public_key")
    @classmethod
    def _check_not_private(cls, value: str | None) -> str | None:
        if value is not None and _PRIVATE_KEY.search(value):
            raise FieldErrors(("", "is a private key, which must not be in a file: write the public key"))
        return value

    @model_validator(mode="after")
    def _check_public_key(self) -> Self:
        if self.algorithm not in PUBLIC_KEY_ALGORITHMS:
            if self.public_key is not None:
                raise FieldErrors(("public_key", f"is not used by {self.algorithm}, whose key is a secret: remove it"))
        elif self.public_key is None:
            raise FieldErrors(("public_key", f"is missing: {self.algorithm} needs one, in PEM"))
        else:
            _check_pem(self.public_key, self.algorithm)
        return self


def _check_pem(text: str, algorithm: str) -> None:
    # Imported here because few sites have a public key.
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        message = "is not a public key in PEM: it begins with -----BEGIN PUBLIC KEY-----"
        raise FieldErrors(("public_key", message)) from None
    if algorithm == "RS256":
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < MIN_RSA_BITS:
            raise FieldErrors(("public_key", f"RS256 needs an RSA key of {MIN_RSA_BITS} bits or more"))
    elif not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise FieldErrors(("public_key", "ES256 needs a key on the curve P-256"))


class Identity(Definition):
    """The keys that prove user ids, and the attributes that users may write themselves."""

    example = "keys: [{id: spring-2026, algorithm: HS256}]"

    keys: Annotated[tuple[IdentityKey, ...], Field(min_length=1, max_length=5)] = Field(
        description="One to five keys. A token names one in its `kid`; otherwise all are tried."
    )
    traits: Annotated[tuple[Annotated[Name, AfterValidator(_check_trait)], ...], Field(max_length=100)] = Field(
        default=(),
        description="Attributes that users may write themselves, with `identify`; all others need a server.",
        examples=[["first_name", "timezone"]],
    )
    visitor_cookie: Annotated[str, AfterValidator(_check_cookie_name)] | None = Field(
        default=None,
        description="Cookie with the proof of an anonymous id; with it, keys that enforce proofs require this one too.",
        examples=["shop_visitor"],
    )

    @field_validator("keys")
    @classmethod
    def _check_ids(cls, keys: tuple[IdentityKey, ...]) -> tuple[IdentityKey, ...]:
        ids = [key.id for key in keys]
        for number, each in enumerate(ids):
            if each in ids[:number]:
                raise FieldErrors((f"[{number}].id", f"another key has the id '{each}' too: give a new key a new id"))
        return keys


class EventsPerUser(Definition):
    """At most so many events within any period of this length."""

    example = "max: 120, per: 1m"
    unsupported_fields: ClassVar[Mapping[str, str]] = {
        "times": "here the number is called 'max'",
        "within": "write 'per'",
    }

    max: Annotated[StrictInt, Field(ge=1, le=MAX_EVENTS)] = Field(description="Number of events, 1 to 1000.")
    per: Duration = Field(description="Length of the period, at most 24h.", examples=["1m"])

    @field_validator("per")
    @classmethod
    def _check_per(cls, value: int) -> int:
        if value > DAY_MS:
            raise FieldErrors(("", "must not be more than 24h"))
        return value


class SiteLimits(Definition):
    """How much the site accepts from one user."""

    example = "events_per_user: {max: 120, per: 1m}"
    unsupported_fields: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("again_after", "max", *CHANNELS, "total"),
        "write the limits of a campaign into the campaign, and those of all campaigns together into 'caps'",
    )

    events_per_user: EventsPerUser = Field(
        description="How many events of live triggers; further ones are refused as `rate_limited`."
    )


def identity_errors(keys: tuple[Any, ...], identity: Identity | None) -> Iterator[tuple[str, str]]:
    """Yield a field and a message for each of the write *keys* whose ``identity`` is not possible."""
    for number, key in enumerate(keys):
        if key.identity == "off":
            continue
        if key.kind == "secret":
            message = "has no effect on a secret key, whose user ids are always trusted: remove it"
            yield f"keys[{number}].identity", message
        elif identity is None:
            message = "needs a key that user ids can be proven with: add 'identity' with 'keys' to the site"
            yield f"keys[{number}].identity", message
    if identity is not None and identity.visitor_cookie and all(key.identity == "off" for key in keys):
        message = "has no effect: set 'identity: enforce', or 'log', on a public key"
        yield "identity.visitor_cookie", message
