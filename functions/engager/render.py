"""Liquid templates: render a campaign's content with the variables of one activation.

Values of customers and events are escaped in the field ``html``. All other fields are plain text, and are shown as
text. A template cannot mark a value as safe and cannot load another template. Limits stop a template that loops or
grows without end.
"""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import liquid
from liquid.exceptions import LiquidError, ResourceLimitError

from engager.ledger.states import RenderedContent, Undeliverable
from shared.ruleset import Campaign

HTML_FIELD = "html"
MAX_TEMPLATES = 512
MAX_LOOPS = 10_000
MAX_OUTPUT_BYTES = 512 * 1024

Render = Callable[[Mapping[str, Any]], Any]
# Filters meet whatever a site stores about its customers. A value of a wrong type fails only that activation.
RENDER_ERRORS = (LiquidError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)


class _Environment(liquid.Environment):
    block_nesting_limit = 20
    context_depth_limit = 20
    loop_iteration_limit = MAX_LOOPS
    local_namespace_limit = 1024 * 1024
    output_stream_limit = MAX_OUTPUT_BYTES

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(autoescape=autoescape)
        del self.filters["safe"]
        for tag in ("include", "render"):
            del self.tags[tag]
        for name, filter_ in self.filters.items():
            self.filters[name] = _bounded(filter_)


def _bounded(filter_: Callable[..., Any]) -> Callable[..., Any]:
    """Return *filter_* refusing long ranges: the loop limit does not count ``(1..999999999) | join``."""

    @wraps(filter_)
    def bounded(*args: Any, **kwargs: Any) -> Any:
        for value in args:
            if isinstance(value, range) and value.stop - value.start > MAX_LOOPS:
                raise ResourceLimitError("range is too long", token=None)
        return filter_(*args, **kwargs)

    return bounded


class Templates:
    """The parsed templates of the campaigns in use, by site, ruleset version and campaign."""

    def __init__(self) -> None:
        self._escaping = _Environment(autoescape=True)
        self._plain = _Environment(autoescape=False)
        self._parsed: dict[tuple[str, int, str], Render] = {}

    def render(self, site: str, version: int, campaign: Campaign, variables: Mapping[str, Any]) -> RenderedContent:
        """Return the content of *campaign* with every template rendered. Undefined variables are empty.

        Raises `Undeliverable` with code ``template_error``.
        """
        key = (site, version, campaign.id)
        try:
            render = self._parsed.get(key)
            if render is None:
                render = self._parse_content(campaign)
                if len(self._parsed) >= MAX_TEMPLATES:
                    self._parsed.pop(next(iter(self._parsed)), None)
                self._parsed[key] = render
            rendered: RenderedContent = render(variables)
        except RENDER_ERRORS as error:
            # Without the error's text: it quotes the template and may quote the customer.
            raise Undeliverable(
                f"campaign {campaign.id}: {type(error).__name__} in its content", code="template_error"
            ) from error
        return rendered

    def _parse_content(self, campaign: Campaign) -> Render:
        fields = {
            name: self._parse(value, self._escaping if name == HTML_FIELD else self._plain)
            for name, value in campaign.content.items()
        }
        return lambda variables: {name: render(variables) for name, render in fields.items()}

    def _parse(self, value: Any, environment: liquid.Environment) -> Render:
        if isinstance(value, Mapping):
            fields = {name: self._parse(each, environment) for name, each in value.items()}
            return lambda variables: {name: render(variables) for name, render in fields.items()}
        if isinstance(value, list | tuple):
            items = [self._parse(each, environment) for each in value]
            return lambda variables: [render(variables) for render in items]
        if isinstance(value, str) and "{" in value:
            template = environment.from_string(value)
            return lambda variables: str(template.render(variables))
        return lambda _: value
