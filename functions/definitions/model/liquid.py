"""Liquid in the texts of a campaign, checked when the campaign is read.

The Engager renders with the same filters and tags, so a text that is refused here would fail, or come out empty, for
every customer.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any

import liquid
from liquid.exceptions import LiquidError, ResourceLimitError
from liquid.static_analysis import TemplateAnalysis
from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from definitions.model.field_errors import FieldErrors, join, suggestion
from definitions.model.urls import check_link, check_webhook_url
from shared.context import ROOT as CONTEXT
from shared.templates import RENDER_ERRORS, Budget, Environment, Template

ROOTS = ("customer", "event", "site", "campaign", CONTEXT)
_Errors = Iterator[tuple[int, str]]  # indexes in a text, and messages
_UrlCheck = Callable[[str, liquid.BoundTemplate, TemplateAnalysis], _Errors]


@cache
def _environment() -> Environment:
    return Environment(autoescape=True)


def errors(text: str, check_url: _UrlCheck | None = None) -> list[str]:
    """Return what is wrong with the Liquid in *text*, and with the URL that it is if there is a *check_url*."""
    result = []
    for index, message in _errors(text, check_url):
        before = text[:index]
        line, column = before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1
        result.append(f"{message} (line {line}, column {column} of the text)")
    return result


def variables(content: BaseModel) -> Iterator[tuple[str, str, str]]:
    """Yield the field, the root (one of `ROOTS`) and the name of each variable in the texts of *content*.

    The name is a path for the context, such as ``page.path``.
    """
    for field, text in _texts(_dump(content)):
        template = _environment().parse_template(text)
        for root, used in template.analyze(include_partials=False).globals.items():
            depth = None if root == CONTEXT else 2
            paths = (each.segments[1:depth] for each in used if len(each.segments) > 1)
            for name in dict.fromkeys(".".join(map(str, path)) for path in paths):
                yield field, str(root), name


def reads(content: BaseModel) -> set[str]:
    """Return the names of the event's attributes that *content* uses, such as ``context.page.path`` of its context."""
    found = {(root, name) for _, root, name in variables(content)}
    return {name if root == "event" else f"{root}.{name}" for root, name in found if root in ("event", CONTEXT)}


def shows_local_times(content: BaseModel) -> bool:
    """Return whether *content* depends on the customer's time zone."""
    if any((root, name) == ("customer", "timezone") for _, root, name in variables(content)):
        return True
    templates = (_environment().parse_template(text) for _, text in _texts(_dump(content)))
    return any("date" in each.analyze(include_partials=False).filters for each in templates)


def _dump(content: BaseModel) -> Any:
    return content.model_dump(mode="json")


def _texts(value: Any, field: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str) and value:
        yield field, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(each, join(field, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _texts(each, f"{field}[{number}]")


def _errors(text: str, check_url: _UrlCheck | None) -> _Errors:
    try:
        template = _environment().parse_template(text)
        analysis = template.analyze(include_partials=False)
    except LiquidError as error:
        yield _about_syntax(error, text)
        return
    except RecursionError:
        yield 0, "this Liquid is nested too deeply"
        return
    names = list(_name_errors(analysis))
    yield from names
    if not names:
        yield from _limit_errors(template)
    if check_url is not None:
        yield from check_url(text, template, analysis)


def _limit_errors(template: Template) -> _Errors:
    """Yield the limit that *template* exceeds for everyone: rendered without a customer and an event."""
    try:
        template.render_within({}, Budget())
    except ResourceLimitError as error:
        index = error.token.start_index if error.token is not None else 0
        yield max(index, 0), f"this Liquid takes too much time or memory: {error.message}"
    except RENDER_ERRORS:
        return  # the values of a customer may make it right


def _about_syntax(error: LiquidError, text: str) -> tuple[int, str]:
    token = error.token
    # Errors at the end of the text have no position.
    index = token.start_index if token is not None and token.start_index >= 0 else len(text)
    message = str(error.message)
    tag = re.fullmatch(r"unexpected tag '(.*)'", message)
    if tag and tag[1] in ("include", "render"):
        return index, f"'{tag[1]}' is not supported: there are no other templates; write the text here"
    if tag and not tag[1].startswith("end") and tag[1] not in ("else", "elsif", "when"):
        return index, f"unknown tag '{tag[1]}'" + suggestion(tag[1], _environment().tags)
    return index, f"not Liquid: {message}"


def _name_errors(analysis: TemplateAnalysis) -> _Errors:
    filters = _environment().filters
    for name, spans in analysis.filters.items():
        if name not in filters:
            for span in spans:
                yield span.index, f"unknown filter '{name}'" + suggestion(name, filters)
    for root, used in analysis.globals.items():
        for variable in used:
            if root not in ROOTS:
                hint = suggestion(root, ROOTS) or f": write one of {', '.join(f'{name}.…' for name in ROOTS)}"
                yield variable.span.index, f"unknown variable '{root}'{hint}"
            elif len(variable.segments) == 1 or not isinstance(variable.segments[1], str):
                yield (
                    variable.span.index,
                    f"'{root}' needs an attribute: write {root}.name; only the named attributes are passed on",
                )


def _validator(check_url: _UrlCheck | None = None) -> AfterValidator:
    def validate(text: str) -> str:
        found = errors(text, check_url)
        if found:
            raise FieldErrors(*(("", message) for message in found))
        return text

    return AfterValidator(validate)


LIQUID = _validator()
LiquidText = Annotated[str, StringConstraints(min_length=1), LIQUID]
LiquidLongText = Annotated[str, StringConstraints(min_length=1, max_length=200_000), LIQUID]
LiquidLink = Annotated[str, StringConstraints(min_length=1), _validator(check_link)]
WebhookUrl = Annotated[
    str,
    StringConstraints(min_length=1),
    _validator(check_webhook_url),
    Field(json_schema_extra={"pattern": "^[Hh][Tt][Tt][Pp][Ss]://[^/?#@:{}]+([/?]|$)"}),
]
