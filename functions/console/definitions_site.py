"""The site, its write keys and its sender, as they are written."""

import re
import zoneinfo
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from console.definitions_errors import Complaints, suggestion
from console.definitions_model import Definition, Name, identifier

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}")

_KEY_FORMS = {
    "key": ("8 to 200 characters without spaces", r"\S{8,200}"),
    "sha256": ("64 lower-case hexadecimal digits", r"[0-9a-f]{64}"),
    "from_env": ("the name of an environment variable", r"[A-Za-z_][A-Za-z0-9_]*"),
}


class Key(Definition):
    """A write key: a public one is in every page, a secret one only ever in the environment, or hashed."""

    example = "kind: public, key: wk_..."

    kind: Literal["public", "secret"]
    key: str | None = None
    sha256: str | None = None
    from_env: str | None = None

    @field_validator("key", "sha256", "from_env", mode="before")
    @classmethod
    def _explain(cls, value: Any, info: ValidationInfo) -> Any:
        wanted, pattern = _KEY_FORMS[info.field_name or ""]
        if isinstance(value, str) and not re.fullmatch(pattern, value):
            raise Complaints(("", f"must be {wanted}"))
        return value

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if self.kind == "secret" and self.key is not None:
            raise Complaints(
                ("key", "a secret must not be in a file: write 'from_env' and a variable's name, or 'sha256'")
            )
        if sum(each is not None for each in (self.key, self.sha256, self.from_env)) != 1:
            raise Complaints(("", "needs exactly one of 'key' (public keys only), 'sha256' and 'from_env'"))
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
            raise Complaints(("", f"'{value}' is not an e-mail address"))
        return value


class Site(Definition):
    """One website or app, with its write keys."""

    example = "id: shop, name: The shop"

    id: Annotated[str, identifier(32)]
    name: Name
    timezone: str = "UTC"
    keys: Annotated[tuple[Key, ...], Field(min_length=1)]
    sender: Sender | None = None

    @field_validator("timezone")
    @classmethod
    def _check_timezone(cls, value: str) -> str:
        known = zoneinfo.available_timezones() | {"UTC"}
        if value not in known:
            hint = suggestion(value, known) or ": write an IANA name such as Europe/Vienna"
            raise Complaints(("", f"unknown time zone '{value}'{hint}"))
        return value
