"""Attributes that are text by definition, whatever their values look like, and the addresses among them.

A phone number or a postal code of digits is not a number: a number loses zeros and signs. Addresses are checked when
they are imported, by the same functions as when a message is sent.
"""

import re
from typing import Any

from opportune.audiences.customers.lines import InvalidRecord
from shared.addresses import InvalidAddress, email_address, phone_number, visible
from shared.channels import ADDRESSES

CONTACTS = frozenset({*ADDRESSES.values(), "timezone", "locale"})
# Also the texts of Pinpoint's Demographic and Location: a version 1.10 is not 1.1.
TEXTS = CONTACTS | {
    *("app_version", "make", "model", "model_version", "platform", "platform_version"),
    *("city", "country", "postal_code", "region"),
}
_BY_LETTERS = {re.sub("[^a-z]", "", name): name for name in CONTACTS}
# What a number would change: leading zeros, a sign, several points or dashes. Words do not count as codes.
_CODE = re.compile(r"(?=.*[0-9])[\w .+/-]+")


def contact_name(column: str) -> str | None:
    """Return the contact that *column* means, such as ``email`` for ``E-Mail``; ``None`` if it is another one."""
    return _BY_LETTERS.get(re.sub("[^a-z]", "", column.lower())) if column.isascii() else None


def is_code(value: Any) -> bool:
    """Return whether *value* is text with digits, such as ``01067`` or ``1.10.2``, that is perhaps not a number."""
    return isinstance(value, str) and _CODE.fullmatch(value) is not None


def check_contact(name: str, value: Any) -> tuple[Any, bool]:
    """Return a contact as it is stored, and whether a message can reach it.

    Invisible characters are removed, and a phone number is written in E.164. Raises `InvalidRecord` for an address
    that is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)  # a number in JSON; the check says how to write it
    if not isinstance(value, str):
        return value, True
    cleaned = visible(value)
    try:
        if name == "email":
            email_address(cleaned)
        elif name == "phone":
            cleaned = phone_number(cleaned)
    except InvalidAddress as error:
        if error.code == "no_smtputf8":
            return cleaned, False
        hint = f": write +{cleaned}, if that is the country code" if name == "phone" and cleaned.isdigit() else ""
        raise InvalidRecord(f"{name}: {error.message}{hint}") from error
    return cleaned, True
