"""Liquid: from a campaign's content and the variables of one activation to finished text.

What a customer or an event supplied is escaped in the fields that are HTML; all others are plain text, and
whoever shows them shows them as text. There is no way to mark such a value as safe, no way to load another
template, and a template that loops or grows without end is stopped.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import liquid
from liquid.exceptions import LiquidError, ResourceLimitError

from engager.ledger.states import Content, Undeliverable
from shared.ruleset import Campaign

WITH_HTML = frozenset({"popup", "email"})  # channels whose content has a field `html`
TEMPLATES_KEPT = 512
LOOP_LIMIT = 10_000
OUTPUT_LIMIT_BYTES = 512 * 1024

Part = Callable[[Mapping[str, Any]], Any]
# Filters run on whatever a site stores of its customers; a wrong type there is one activation's failure.
RENDER_ERRORS = (LiquidError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


class _Environment(liquid.Environment):
    block_nesting_limit = 20
    context_depth_limit = 20
    loop_iteration_limit = LOOP_LIMIT
    local_namespace_limit = 1024 * 1024
    output_stream_limit = OUTPUT_LIMIT_BYTES

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(autoescape=autoescape)
        del self.filters["safe"]
        for tag in ("include", "render"):
            del self.tags[tag]
        for name, filter_ in self.filters.items():
            self.filters[name] = _bounded(filter_)


def _bounded(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """Return *filter_* refusing a long range: the loop limit counts loops, not ``(1..999999999) | join``."""

    @wraps(filter_)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        for value in args:
            if isinstance(value, range) and value.stop - value.start > LOOP_LIMIT:
                raise ResourceLimitError("range is too long", token=None)
        return filter_(*args, **kwargs)

    return bounded


class Templates:
    """The parsed templates of the campaigns in use, per site, ruleset version and campaign."""

    def __init__(self) -> None:
        self._escaped = _Environment(autoescape=True)
        self._plain = _Environment(autoescape=False)
        self._parsed: dict[tuple[str, int, str], Part] = {}

    def render(self, site: str, version: int, campaign: Campaign, variables: Mapping[str, Any]) -> Content:
        """Return the content of *campaign* with every template in it rendered; undefined variables are empty.

        Raises `Undeliverable` with code ``template_error``.
        """
        key = (site, version, campaign.id)
        try:
            part = self._parsed.get(key)
            if part is None:
                part = self._fields(campaign)
                if len(self._parsed) >= TEMPLATES_KEPT:
                    self._parsed.pop(next(iter(self._parsed)), None)
                self._parsed[key] = part
            rendered: Content = part(variables)
        except RENDER_ERRORS as error:
            # The text of the error is left out: it quotes the template and may quote the customer.
            raise Undeliverable(
                f"campaign {campaign.id}: {type(error).__name__} in its content", code="template_error"
            ) from error
        return rendered

    def _fields(self, campaign: Campaign) -> Part:
        html = "html" if campaign.channel in WITH_HTML else None
        parts = {
            name: self._parse(value, self._escaped if name == html else self._plain)
            for name, value in campaign.content.items()
        }
        return lambda variables: {name: part(variables) for name, part in parts.items()}

    def _parse(self, value: Any, environment: liquid.Environment) -> Part:
        if isinstance(value, Mapping):
            parts = {name: self._parse(each, environment) for name, each in value.items()}
            return lambda variables: {name: part(variables) for name, part in parts.items()}
        if isinstance(value, list | tuple):
            items = [self._parse(each, environment) for each in value]
            return lambda variables: [item(variables) for item in items]
        if isinstance(value, str) and "{" in value:
            template = environment.from_string(value)
            return lambda variables: str(template.render(variables))
        return lambda _: value
