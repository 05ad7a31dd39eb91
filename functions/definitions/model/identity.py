"""How a site's users prove who they are, and how many events one of them may send, as it is written."""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StrictInt, field_validator, model_validator

from definitions.model.field_errors import FieldErrors
from definitions.model.fields import Definition, Duration, Name, identifier

DAY_MS = 86_400_000
MOST_EVENTS = 1000  # what one row of the state store remembers of times
SMALLEST_RSA = 2048
SIGNED_IN_PUBLIC = ("RS256", "ES256")
_BEGIN_PRIVATE = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")


def _trait(name: str) -> str:
    if any(character in name for character in ".$\0"):
        raise FieldErrors(("", f"'{name}' is not the name of an attribute: write it without '.' and '$'"))
    return name


class IdentityKey(Definition):
    """What proves a user id: a key that the site's own servers sign tokens, or hash user ids, with."""

    example = "id: spring-2026, algorithm: HS256"
    not_offered: ClassVar[Mapping[str, str]] = {
        "secret": "a secret must not be in a file; this one is derived, `opportune keys identity` shows it",
        "private_key": "it stays with whoever signs: here is the place of its 'public_key'",
    }

    id: Annotated[str, identifier(64)]
    algorithm: Literal["HS256", "RS256", "ES256", "user_hash"]
    public_key: str | None = None

    @field_validator("public_key")
    @classmethod
    def _check_not_private(cls, value: str | None) -> str | None:
        if value is not None and _BEGIN_PRIVATE.search(value):
            raise FieldErrors(("", "is a private key, which must not be in a file: write the public one"))
        return value

    @model_validator(mode="after")
    def _check_public_key(self) -> Self:
        if self.algorithm not in SIGNED_IN_PUBLIC:
            if self.public_key is not None:
                raise FieldErrors(
                    ("public_key", f"means nothing to {self.algorithm}, whose key is a secret: remove it")
                )
        elif self.public_key is None:
            raise FieldErrors(("public_key", f"is missing: {self.algorithm} needs one, in PEM"))
        else:
            _check_pem(self.public_key, self.algorithm)
        return self


def _check_pem(text: str, algorithm: str) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - few sites have one
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        message = "is not a public key in PEM: it begins with -----BEGIN PUBLIC KEY-----"
        raise FieldErrors(("public_key", message)) from None
    if algorithm == "RS256":
        if not isinstance(key, rsa.RSAPublicKey) or key.key_size < SMALLEST_RSA:
            raise FieldErrors(("public_key", f"RS256 needs an RSA key of {SMALLEST_RSA} bits or more"))
    elif not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise FieldErrors(("public_key", "ES256 needs a key on the curve P-256"))


class Identity(Definition):
    """The keys that prove user ids, and the attributes that users may write themselves."""

    example = "keys: [{id: spring-2026, algorithm: HS256}]"

    keys: Annotated[tuple[IdentityKey, ...], Field(min_length=1, max_length=5)]
    traits: Annotated[tuple[Annotated[Name, AfterValidator(_trait)], ...], Field(max_length=100)] = ()

    @field_validator("keys")
    @classmethod
    def _check_ids(cls, keys: tuple[IdentityKey, ...]) -> tuple[IdentityKey, ...]:
        ids = [key.id for key in keys]
        for number, each in enumerate(ids):
            if each in ids[:number]:
                raise FieldErrors((f"[{number}].id", f"'{each}' is there twice: a new key gets a new id"))
        return keys


class EventsPerUser(Definition):
    """At most ``max`` within any ``per`` (ms)."""

    example = "max: 120, per: 1m"
    not_offered: ClassVar[Mapping[str, str]] = {"times": "here the number is called 'max'", "within": "write 'per'"}

    max: Annotated[StrictInt, Field(ge=1, le=MOST_EVENTS)]
    per: Duration

    @field_validator("per")
    @classmethod
    def _check_per(cls, value: int) -> int:
        if value > DAY_MS:
            raise FieldErrors(("", "must not be more than 24h"))
        return value


class SiteLimits(Definition):
    """What a site takes from one user."""

    example = "events_per_user: {max: 120, per: 1m}"
    not_offered: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("again_after", "max", "popup", "email", "sms", "push", "webhook", "total"),
        "limits of a campaign stand in the campaign, and 'caps' are about all campaigns together",
    )

    events_per_user: EventsPerUser


def identity_problems(keys: tuple[Any, ...], identity: Identity | None) -> Iterator[tuple[str, str]]:
    """Yield field and message of what write *keys* ask for and *identity* does not give."""
    for number, key in enumerate(keys):
        if key.identity == "off":
            continue
        if key.kind == "secret":
            yield f"keys[{number}].identity", "means nothing for a secret key, which is believed: remove it"
        elif identity is None:
            message = "nobody could prove who he is: add 'identity' with 'keys' to the site"
            yield f"keys[{number}].identity", message
