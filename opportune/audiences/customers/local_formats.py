"""Dates, numbers and booleans as people write them in a country: ``30.11.2026``, ``1.234,50``, ``ja``.

The same text means different values in different countries. So it is only read as a value if the operator names the
locale; otherwise the import warns about it.
"""

import re
from collections.abc import Sequence

from shared.errors import InvalidRequest

_DATE = re.compile(r"([0-9]{1,2})([./-])([0-9]{1,2})\2([0-9]{4})")
_BLANKS = re.compile("[ '\u00a0\u202f\u2019]")  # between thousands
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,3}(?:\.?[0-9]{3})*,[0-9]+|[0-9]{1,3}(?:[.,][0-9]{3})+(?:[.,][0-9]+)?)")
_YES = frozenset({"yes", "y", "ja", "oui", "sí", "si", "sì", "sim", "tak", "ano", "да", "on"})
_NO = frozenset({"no", "n", "nein", "nee", "non", "não", "nao", "nie", "ne", "нет", "off"})
_MONTH_FIRST = frozenset({"en", "en_US", "en_PH", "es_US"})
# What a column holds, when more than this share of its values looks like it.
_SHARE = 0.05


def check_locale(name: str) -> str:
    """Return a locale such as ``de_AT`` for ``de-AT``; raise `InvalidRequest` if there is none of this name."""
    from babel import Locale, UnknownLocaleError  # noqa: PLC0415 - most imports need no locale

    try:
        return str(Locale.parse(name.replace("-", "_")))
    except (ValueError, UnknownLocaleError) as error:
        raise InvalidRequest(
            f"--locale {name}: there is no such locale; write one such as de, de-AT or en-US"
        ) from error


def to_standard(text: str, locale: str) -> str:
    """Return *text* of *locale* as ISO 8601, with a decimal point, or as true or false; other text unchanged."""
    text = text.strip()
    if date := _DATE.fullmatch(text):
        first, second = (date[3], date[1]) if locale in _MONTH_FIRST and date[2] != "." else (date[1], date[3])
        return f"{date[4]}-{int(second):02}-{int(first):02}"
    if text.lower() in _YES | _NO:
        return "true" if text.lower() in _YES else "false"
    number = _BLANKS.sub("", text)
    if _NUMBER.fullmatch(number):
        from babel.numbers import NumberFormatError, parse_decimal  # noqa: PLC0415 - as above

        try:
            return format(parse_decimal(number, locale=locale, strict=True), "f")
        except NumberFormatError:
            return text
    return text


def doubts(name: str, values: Sequence[str]) -> str | None:
    """Return a warning if many *values* of a column of text are perhaps dates, booleans or numbers; else ``None``."""
    texts = [each.strip() for each in values]
    looks = {
        "dates such as 30.11.2026": [_DATE.fullmatch(each) is not None for each in texts],
        "booleans such as yes": [each.lower() in _YES | _NO for each in texts],
        "numbers such as 1.234,50": [_NUMBER.fullmatch(_BLANKS.sub("", each)) is not None for each in texts],
    }
    for kind, found in looks.items():
        share = sum(found) / len(found)
        if share > _SHARE:
            return (
                f"{name} was imported as text, but {share:.0%} of its rows look like {kind}: name the language of the "
                f"file, such as --locale de, or declare the attribute in customer_attributes"
            )
    return None
