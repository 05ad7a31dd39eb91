"""Render a campaign's content with the variables of one activation.

Values of customers and events are escaped in the field ``html``. All other fields are plain text, and are shown as
text. A template cannot mark a value as safe and cannot load another template. `shared.templates` has the limits, which
stop a template that loops or grows without end.
"""

from collections.abc import Callable, Mapping
from typing import Any

from engager.ledger.states import RenderedContent, Undeliverable
from shared.ruleset import Campaign
from shared.templates import RENDER_ERRORS, Budget, Environment, LimitExceeded

HTML_FIELD = "html"
MAX_TEMPLATES = 512

Render = Callable[[Mapping[str, Any], Budget], Any]


class Templates:
    """The parsed templates of the campaigns in use, by site, ruleset version and campaign."""

    def __init__(self) -> None:
        self._escaping = Environment(autoescape=True)
        self._plain = Environment(autoescape=False)
        self._parsed: dict[tuple[str, int, str], Render] = {}

    def render(self, site: str, version: int, campaign: Campaign, variables: Mapping[str, Any]) -> RenderedContent:
        """Return the content of *campaign* with every template rendered. Undefined variables are empty.

        Raises `Undeliverable`: template_limit if it takes too much time or memory, template_error otherwise.
        """
        key = (site, version, campaign.id)
        try:
            render = self._parsed.get(key)
            if render is None:
                render = self._parse_content(campaign)
                if len(self._parsed) >= MAX_TEMPLATES:
                    self._parsed.pop(next(iter(self._parsed)), None)
                self._parsed[key] = render
            rendered: RenderedContent = render(variables, Budget())
        except (LimitExceeded, MemoryError) as error:
            raise Undeliverable(
                f"campaign {campaign.id}: its content exceeds a limit", code="template_limit"
            ) from error
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
        return lambda variables, budget: {name: render(variables, budget) for name, render in fields.items()}

    def _parse(self, value: Any, environment: Environment) -> Render:
        if isinstance(value, Mapping):
            fields = {name: self._parse(each, environment) for name, each in value.items()}
            return lambda variables, budget: {name: render(variables, budget) for name, render in fields.items()}
        if isinstance(value, list | tuple):
            items = [self._parse(each, environment) for each in value]
            return lambda variables, budget: [render(variables, budget) for render in items]
        if isinstance(value, str) and "{" in value:
            return environment.parse_template(value).render_within
        return lambda *_: value
