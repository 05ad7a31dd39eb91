"""Liquid in the content of a campaign: checked before anything is published.

The Engager renders with the same filters and tags; what is refused here would fail, or come out empty, for
every customer.
"""

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

import liquid
from liquid.exceptions import LiquidError
from liquid.static_analysis import TemplateAnalysis

from console.definitions_content import Content, EmailContent
from console.definitions_errors import suggestion

ROOTS = ("customer", "event", "site", "campaign")
URL_SCHEMES = frozenset({"http", "https", "mailto", "tel"})
# What a browser drops before it looks for the scheme: "java\nscript:" is "javascript:" to it.
_IGNORED_IN_URL = re.compile(r"[\x00-\x20\x7f]+")
_SCHEME = re.compile(r"([^/?#:]*):")
_CONSTANT_ERRORS = (LiquidError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


class ContentProblem(NamedTuple):
    """Something wrong with the text ``field`` of a content; ``line``, ``column``: from 1, in that text."""

    field: str
    line: int
    column: int
    message: str


class _Environment(liquid.Environment):
    block_nesting_limit = 20

    def __init__(self) -> None:
        super().__init__(autoescape=True)
        del self.filters["safe"]
        for tag in ("include", "render"):
            del self.tags[tag]


def check_content(content: Content) -> list[ContentProblem]:
    """Return what is wrong with the Liquid and the URLs of *content*, in order; nothing is raised."""
    environment = _Environment()
    return [
        ContentProblem(field, *_position(text, index), message)
        for field, text in _texts(content)
        for index, message in _check(text, environment, is_url=field.endswith("url"))
    ]


def reads(content: Content) -> set[str]:
    """Return the names of the event's attributes that *content* uses; for content that has been checked."""
    environment = _Environment()
    names: set[str] = set()
    for _, text in _texts(content):
        used = environment.from_string(text).analyze(include_partials=False).globals.get("event", ())
        names.update(str(each.segments[1]) for each in used if len(each.segments) > 1)
    return names


def _texts(content: Content) -> Iterator[tuple[str, str]]:
    if isinstance(content, EmailContent):
        fields = {"subject": content.subject, "html": content.html, "text": content.text}
    else:
        fields = {"title": content.title, "body": content.body}
        for number, action in enumerate(content.actions):
            fields[f"actions[{number}].label"] = action.label
            fields[f"actions[{number}].url"] = action.url
    for name, text in fields.items():
        if text:
            yield name, text


def _check(text: str, environment: liquid.Environment, *, is_url: bool) -> Iterator[tuple[int, str]]:
    """Yield index in *text* and message of each problem."""
    try:
        template = environment.from_string(text)
        analysis = template.analyze(include_partials=False)
    except LiquidError as error:
        yield _about_syntax(error, text, environment)
        return
    except RecursionError:
        yield 0, "this Liquid is nested too deeply"
        return
    for name, spans in analysis.filters.items():
        if name not in environment.filters:
            for span in spans:
                yield span.index, f"unknown filter '{name}'" + suggestion(name, environment.filters)
    yield from _check_variables(analysis)
    if is_url:
        yield from _check_url(text, template, analysis)


def _about_syntax(error: LiquidError, text: str, environment: liquid.Environment) -> tuple[int, str]:
    token = error.token
    # Errors about the end of the text have no place in it.
    index = token.start_index if token is not None and token.start_index >= 0 else len(text)
    message = str(error.message)
    tag = re.fullmatch(r"unexpected tag '(.*)'", message)
    if tag and tag[1] in ("include", "render"):
        return index, f"'{tag[1]}' is not offered: there are no other templates; write the text here"
    if tag and not tag[1].startswith("end") and tag[1] not in ("else", "elsif", "when"):
        return index, f"unknown tag '{tag[1]}'" + suggestion(tag[1], environment.tags)
    return index, f"not Liquid: {message}"


def _check_variables(analysis: TemplateAnalysis) -> Iterator[tuple[int, str]]:
    for root, used in analysis.globals.items():
        for variable in used:
            if root not in ROOTS:
                hint = suggestion(root, ROOTS) or f": write one of {', '.join(f'{name}.…' for name in ROOTS)}"
                yield variable.span.index, f"unknown variable '{root}'{hint}"
            elif len(variable.segments) == 1 or not isinstance(variable.segments[1], str):
                yield (
                    variable.span.index,
                    f"'{root}' needs an attribute: write {root}.name; only what is named is passed on",
                )


def _check_url(text: str, template: liquid.BoundTemplate, analysis: TemplateAnalysis) -> Iterator[tuple[int, str]]:
    """Check as much of a URL as does not depend on the customer or the event."""
    start = re.split(r"\{[{%]", text, maxsplit=1)[0]
    if not analysis.globals and not analysis.tags and ".." not in text:  # neither loops nor ranges
        try:
            start = template.render()
        except _CONSTANT_ERRORS:
            yield 0, "this URL cannot be rendered"
            return
    scheme = _SCHEME.match(_IGNORED_IN_URL.sub("", html.unescape(start)))
    if scheme and scheme[1].lower() not in URL_SCHEMES:
        yield (
            0,
            f"a URL must not start with '{scheme[1]}:': write http(s), mailto, tel or a path such as /boost",
        )


def _position(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1
