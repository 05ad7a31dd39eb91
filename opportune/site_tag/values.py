"""Make example values of attributes, and write them in each language of a tag."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from definitions.model.event import Attribute, Event

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")
_DATA_NAME = re.compile(r"[a-z0-9_][a-z0-9_-]*")


def example(name: str, attribute: Attribute) -> Any:
    """Return an example value: the defined one, or one of the right type."""
    if attribute.sample is not None:
        return attribute.sample
    if attribute.one_of:
        return attribute.one_of[0]
    plain: Mapping[str, Any] = {
        "text": name.upper(),
        "number": 1,
        "boolean": True,
        "date": "2026-03-01T10:00:00Z",
        "list": ["A", "B"],
        "object": {},
    }
    return plain[attribute.type]


def properties(event: Event) -> dict[str, Any]:
    """Return examples of all attributes of *event*; ``cart.total`` becomes a field of the object ``cart``."""
    found: dict[str, Any] = {}
    for name, attribute in (event.attributes or {}).items():
        *above, last = name.split(".")
        inner = found
        for part in above:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                break
        else:
            inner.setdefault(last, example(last, attribute))
    return found


def javascript(value: Any) -> str:
    """Return *value* as JavaScript, safe inside a ``script`` element."""
    if isinstance(value, Mapping):
        fields = (
            f"{name if _IDENTIFIER.fullmatch(name) else _json(name)}: {javascript(each)}"
            for name, each in value.items()
        )
        return f"{{{', '.join(fields)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(javascript, value))}]"
    return _json(value)


def python(value: Any) -> str:
    """Return *value* as Python, with double quotes."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_text(name)}: {python(each)}' for name, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(python, value))}]"
    return _text(value) if isinstance(value, str) else repr(value)


def data_attributes(values: Mapping[str, Any]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the ``data-prop-*`` attributes by name, and the names that HTML cannot express.

    HTML has no capitals in attribute names, and only text as values. The tag reads text that looks like a
    number, true or false as such, so text that is meant as text is quoted.
    """
    expressed = {name: value for name, value in values.items() if _is_expressible(name, value)}
    return (
        {f"data-prop-{name}": _data(value) for name, value in expressed.items()},
        tuple(set(values) - set(expressed)),
    )


def _is_expressible(name: str, value: Any) -> bool:
    return _DATA_NAME.fullmatch(name) is not None and isinstance(value, str | int | float)


def _data(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        read = json.loads(value)
    except ValueError:
        return value
    return value if isinstance(read, list | dict) else json.dumps(value, ensure_ascii=False)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False).replace("</", "<\\/").replace("<!--", "<\\!--")


def listed(names: Iterable[str]) -> str:
    """Return *names* sorted and separated by commas."""
    return ", ".join(sorted(names))
