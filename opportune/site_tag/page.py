"""Render a site's tags as one page for the web team. It loads nothing and works without a network."""

import hashlib
from base64 import b64encode
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import liquid
from liquid.extra import CallTag, MacroTag

from opportune.site_tag.snippets import EventTags, SiteTags


def render(found: SiteTags) -> str:
    """Return the page. Its policy allows only its own script."""
    folder = files("opportune.site_tag")
    script = folder.joinpath("page.js").read_text("utf-8")
    environment = liquid.Environment(autoescape=True, undefined=liquid.StrictUndefined)
    for tag in (MacroTag, CallTag):
        environment.add_tag(tag)
    template = environment.from_string(folder.joinpath("page.html").read_text("utf-8"))
    return template.render(
        tags=asdict(found),
        events=[_event(number, each) for number, each in enumerate(found.events, start=1)],
        missing=[{"placeholder": name, "meaning": meaning} for name, meaning in found.missing.items()],
        script=liquid.Markup(script),
        script_hash=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _event(number: int, event: EventTags) -> dict[str, Any]:
    described = any(each.description or each.values for each in event.attributes)
    return {**asdict(event), "number": number, "described": described}
