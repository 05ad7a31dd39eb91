"""The filters of Liquid that depend on where the customer is: ``money`` and ``date``.

Both take the customer's ``locale``, and ``date`` also the customer's ``timezone``, unless the template names another
one. Without a known locale they write English, without a known zone UTC. Babel is imported when a locale is needed.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil import parser
from liquid.exceptions import FilterArgumentError
from liquid.filter import with_context
from liquid.undefined import is_undefined

if TYPE_CHECKING:
    from babel import Locale

STYLES = frozenset({"short", "medium", "long", "full"})
_CURRENCY = re.compile(r"[A-Z]{3}")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")
_DIRECTIVE = re.compile(r"%(?P<flags>[-_^#0]*)(?P<letter>[A-Za-z%])")
# Directives whose text depends on the language, as patterns of babel.
_WORDS = {"A": "EEEE", "a": "EEE", "B": "MMMM", "b": "MMM", "h": "MMM", "p": "a", "P": "a"}
_DATES = {"x": "short", "X": "medium", "c": "medium"}
# What the digits of a time mean: 10 to 12 are seconds, 13 to 15 milliseconds, 16 and more microseconds.
_MS, _US = 10**12, 10**15
_OTHER_SPACES = str.maketrans("\u00a0\u202f", "  ")  # in a text message they would triple the price


@with_context
def money(value: object, currency: object = None, *, locale: object = None, context: Any) -> str:
    """Return an amount, such as ``129,90 €`` in German; without a *currency* the number with two decimals.

    Raises `FilterArgumentError` for what is neither a number nor empty, and for an unknown form of currency.
    """
    if value is None or value == "" or is_undefined(value):
        return ""
    amount = _amount(value)
    from babel import numbers  # noqa: PLC0415 - see the module's docstring

    chosen = _locale(locale, context)
    if currency is None or is_undefined(currency):
        made = numbers.format_decimal(_rounded(amount, 2), format="#,##0.00", locale=chosen)
        return str(made).translate(_OTHER_SPACES)
    code = str(currency).strip().upper()
    if not _CURRENCY.fullmatch(code):
        raise FilterArgumentError(f"money: expected a currency such as EUR, found {str(currency)[:20]!r}", token=None)
    digits = numbers.get_currency_precision(code)
    return str(numbers.format_currency(_rounded(amount, digits), code, locale=chosen)).translate(_OTHER_SPACES)


def _amount(value: object) -> Decimal:
    text = value.strip() if isinstance(value, str) else str(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise FilterArgumentError(f"money: expected a number, found {type(value).__name__}", token=None)
    if isinstance(value, str) and not _NUMBER.fullmatch(text):
        raise FilterArgumentError("money: expected a number, found other text", token=None)
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise FilterArgumentError("money: expected a number", token=None) from error
    if not amount.is_finite() or abs(amount) > Decimal(10) ** 20:
        raise FilterArgumentError("money: the number is too large", token=None)
    return amount


def _rounded(amount: Decimal, digits: int) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)


@with_context
def local_date(value: object, form: object = None, zone: object = None, locale: object = None, *, context: Any) -> str:
    """Return a time in the format *form* of strftime, or in one of ``STYLES``; text that is not a time unchanged.

    A day without a time, which is also midnight in UTC, is the same day in every zone.
    """
    if value is None or is_undefined(value):
        return ""
    at = _time(value)
    if at is None or form is None or is_undefined(form):
        return str(value)
    at = _in_zone(at, zone, context)
    pattern = str(form)
    if pattern in STYLES:
        from babel import dates  # noqa: PLC0415 - see the module's docstring

        return str(dates.format_date(at, pattern, locale=_locale(locale, context))).translate(_OTHER_SPACES)
    name = _locale_name(locale, context)
    return at.strftime(_DIRECTIVE.sub(lambda found: _directive(found, at, name), pattern))


def _directive(found: re.Match[str], at: datetime, locale: str) -> str:
    """Return the text of a directive that depends on the language or that `strftime` lacks; else the directive."""
    flags, letter = found["flags"], found["letter"]
    if letter == "s":
        return str(int(at.timestamp()))
    if letter == "L":
        return f"{at.microsecond // 1000:03}"
    if locale.startswith("en") or letter not in _WORDS.keys() | _DATES.keys():
        return found[0]
    from babel import dates  # noqa: PLC0415 - see the module's docstring

    chosen = _parse_locale(locale)
    if letter in _WORDS:
        text = str(dates.format_datetime(at, _WORDS[letter], locale=chosen))
    else:
        formats: dict[str, Any] = {"x": dates.format_date, "X": dates.format_time, "c": dates.format_datetime}
        make = formats[letter]
        text = str(make(at, _DATES[letter], locale=chosen))
    text = text.upper() if "^" in flags else text.lower() if letter == "P" else text
    return text.translate(_OTHER_SPACES).replace("%", "%%")


def _time(value: object) -> datetime | None:
    if value in ("now", "today"):
        return datetime.now(UTC)
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime.combine(value, time.min, UTC)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        if isinstance(value, str) and not re.fullmatch(r"[0-9]+", value):
            at: datetime = parser.parse(value)
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        number = float(value)
        return datetime.fromtimestamp(number / (1 if number < _MS else 1000 if number < _US else 10**6), UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _in_zone(at: datetime, zone: object, context: Any) -> datetime:
    if at.utcoffset() == UTC.utcoffset(None) and at.timetz().replace(tzinfo=None) == time.min:
        return at  # a day
    chosen = _zone(zone)
    if chosen is None and zone is not None and not is_undefined(zone) and zone != "":
        raise FilterArgumentError(f"date: unknown time zone {str(zone)[:40]!r}", token=None)
    return at.astimezone(chosen or _zone(_of_customer("timezone", context)) or UTC)


def _zone(name: object) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if isinstance(name, str) and name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _locale(name: object, context: Any) -> "Locale":
    return _parse_locale(_locale_name(name, context))


def _locale_name(name: object, context: Any) -> str:
    """Return the locale in the template, or the customer's, or English."""
    given = name if isinstance(name, str) and name else _of_customer("locale", context)
    return given if isinstance(given, str) and given else "en"


def _parse_locale(name: str) -> "Locale":
    """Return a locale such as de-AT or de_AT.UTF-8, or its language, or English."""
    from babel import Locale, UnknownLocaleError  # noqa: PLC0415 - see the module's docstring

    tag = re.split(r"[.@]", name, maxsplit=1)[0].strip().replace("-", "_")
    for each in (tag, tag.partition("_")[0]):
        try:
            return Locale.parse(each)
        except (ValueError, UnknownLocaleError):
            continue
    return Locale("en")


def _of_customer(name: str, context: Any) -> object:
    customer = context.globals.get("customer")
    return customer.get(name) if isinstance(customer, Mapping) else None
