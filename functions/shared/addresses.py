"""The addresses of customers and hosts in the one form that providers take: ASCII domains, and numbers in E.164.

A domain beyond ASCII is encoded as IDNA 2008 says, after the mapping of UTS 46. So capitals, composed and combining
letters, and full-width dots name the same domain, and ``straße`` is not ``strasse``.
"""

import re
import unicodedata

from shared.errors import OpportuneError

MAX_ADDRESS = 254  # bytes of an e-mail address, RFC 5321 with its erratum 1690
LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
HOST = re.compile(rf"(?=.{{1,253}}\.?\Z){LABEL}(\.{LABEL})*\.?")
E164 = re.compile(r"\+[1-9][0-9]{6,14}")
# Blanks, dots, slashes, brackets and dashes of any script, as people write them into phone numbers.
SEPARATORS = re.compile(r"[\s()./\u2010-\u2015\u2212-]+")
# Characters without a width, which come with text that was copied from a page or a spreadsheet.
INVISIBLE = re.compile(r"[\u00ad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
JOINERS = re.compile(r"[\u200c\u200d]")  # they tell some domains apart, but mean nothing between ASCII letters


class InvalidAddress(OpportuneError):
    """Text that is not an address to which a provider can send. ``code``: the reason."""

    code = "invalid_address"


def visible(text: str) -> str:
    """Return *text* without characters that cannot be seen, and without blanks at its ends."""
    cleaned = INVISIBLE.sub("", text).strip()
    plain = JOINERS.sub("", cleaned)
    return plain if plain.isascii() else cleaned


def ascii_host(text: str) -> str | None:
    """Return a host name in lower-case ASCII; ``None`` if it is not one. A dot at its end stays."""
    host = text.lower()
    if not host.isascii():
        import idna  # noqa: PLC0415 - few hosts need it

        try:
            host = idna.encode(text, uts46=True, std3_rules=True).decode()
        except UnicodeError:  # which idna's errors are
            return None
    return host if HOST.fullmatch(host) else None


def email_address(text: object) -> str:
    """Return *text* as one address in ASCII.

    Raises `InvalidAddress`: invalid_address; no_smtputf8 for a letter before the @ that SES cannot send to.
    """
    cleaned = visible(text) if isinstance(text, str) else ""
    local, _, domain = cleaned.rpartition("@")
    if local and domain and not local.isascii():
        message = "SES cannot send to letters beyond ASCII before the @: ask the customer for another address"
        raise InvalidAddress(message, code="no_smtputf8")
    host = (ascii_host(domain) or "").removesuffix(".")
    address = f"{local}@{host}"
    is_name = not host.rpartition(".")[2].isdigit()  # the addresses of machines end in a number
    if not (LOCAL_PART.fullmatch(local) and len(local) <= 64 and host and is_name and len(address) <= MAX_ADDRESS):
        raise InvalidAddress("expected exactly one e-mail address")
    return address


def phone_number(text: object) -> str:
    """Return *text* as a phone number in E.164; raises `InvalidAddress`: invalid_phone."""
    number = SEPARATORS.sub("", unicodedata.normalize("NFKC", visible(text))) if isinstance(text, str) else ""
    if not E164.fullmatch(number):
        raise InvalidAddress("expected a phone number in E.164, such as +436601234567", code="invalid_phone")
    return number
