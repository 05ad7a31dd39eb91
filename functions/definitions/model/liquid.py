"""Liquid in the content of a campaign: checked before anything is published.

The Engager renders with the same filters and tags; what is refused here would fail, or come out empty, for
every customer.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import liquid
from liquid.exceptions import LiquidError
from liquid.static_analysis import TemplateAnalysis

from definitions.model.content import Content, PushContent, WebhookContent
from definitions.model.field_errors import join, suggestion
from definitions.model.popup import PopupContent
from definitions.model.urls import check_link, check_webhook

ROOTS = ("customer", "event", "site", "campaign")
Kind = Literal["text", "link", "webhook"]


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
        for field, text, kind in _texts(content)
        for index, message in _check(text, environment, kind)
    ]


def reads(content: Content) -> set[str]:
    """Return the names of the event's attributes that *content* uses; for content that has been checked."""
    return {name for _, root, name in variables(content) if root == "event"}


def variables(content: Content) -> Iterator[tuple[str, str, str]]:
    """Yield field, root (`ROOTS`) and name of every variable in *content*; for content that has been checked."""
    environment = _Environment()
    for field, text, _ in _texts(content):
        for root, used in environment.from_string(text).analyze(include_partials=False).globals.items():
            for name in dict.fromkeys(str(each.segments[1]) for each in used if len(each.segments) > 1):
                yield field, str(root), name


def _texts(content: Content) -> Iterator[tuple[str, str, Kind]]:
    """Yield field, text and kind of every text in *content*."""
    links: tuple[str, ...] = ("url",) if isinstance(content, PushContent) else ()
    if isinstance(content, PopupContent):
        links = ("image.url", *(f"actions[{number}].url" for number in range(len(content.actions))))
    for field, text in _leaves(content.model_dump(mode="json")):
        is_webhook = isinstance(content, WebhookContent) and field == "url"
        yield field, text, "webhook" if is_webhook else "link" if field in links else "text"


def _leaves(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and value:
        yield field, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _leaves(each, join(field, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _leaves(each, f"{field}[{number}]")


def _check(text: str, environment: liquid.Environment, kind: Kind) -> Iterator[tuple[int, str]]:
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
    if kind == "link":
        yield from check_link(text, template, analysis)
    elif kind == "webhook":
        yield from check_webhook(text)


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


def _position(text: str, index: int) -> tuple[int, int]:
    before = text[:index]
    return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1
