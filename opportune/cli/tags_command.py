"""`opportune tags`: the tags of a site for people, for programs, and as a page for the web team."""

import re
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule

from definitions.checks.check import check
from definitions.loading.folder import load
from opportune.site_tag.snippets import EventTags, SiteTags, Snippet, tags
from opportune.system import connection
from opportune.system.connection import NotConnected
from shared.errors import InvalidRequest


def read(folder: Path, event: str | None, url: str | None) -> SiteTags:
    """Return the tags of the definitions in *folder*; the endpoint is *url*, or that of a running system."""
    definitions = check(load(folder), connection.environment())
    try:
        endpoint: str | None = connection.endpoint(url)
        if endpoint and not re.match(r"https?://[^/\s]", endpoint):
            raise InvalidRequest(f"{endpoint}: an endpoint begins with https://", code="invalid_url")
    except NotConnected:
        endpoint = None
    return tags(definitions, endpoint.rstrip("/") if endpoint else None, event)


def told(found: SiteTags) -> dict[str, Any]:
    """Return them for programs."""
    return {
        "site": found.site,
        "script": found.script.code,
        "identify": found.identify.code,
        "missing": found.missing,
        "events": [
            {
                "event": each.event,
                "description": each.description,
                "page": each.page,
                "selector": each.selector,
                "snippets": {snippet.id: snippet.code for snippet in (*each.browser, *each.server)},
            }
            for each in found.events
        ],
    }


def write_page(found: SiteTags, path: Path) -> None:
    """Write them as a page; raises `InvalidRequest` where that is not possible."""
    from opportune.site_tag import page  # noqa: PLC0415 - Liquid is for pages alone

    try:
        path.write_text(page.render(found), encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from error


def show(found: SiteTags, out: Console) -> None:
    """Print them: code stands at the left edge and is never broken, so that it can be copied."""
    out.print(Rule("[bold]Once[/bold]", align="left"))
    _snippet(found.script, out)
    _snippet(found.identify, out)
    for each in found.events:
        _event(each, out)
    for placeholder, meaning in found.missing.items():
        out.print(f"\nput in for [bold]{placeholder}[/bold]: {meaning}", highlight=False, soft_wrap=True)


def _event(event: EventTags, out: Console) -> None:
    out.print()
    out.print(Rule(f"[bold]{event.event}[/bold]", align="left"))
    place = " ".join(part for part in (event.page, event.selector) if part)
    for said in (event.description, f"on {place}" if place else ""):
        if said:
            out.print(said, markup=False, highlight=False, soft_wrap=True)
    for snippet in (*event.browser, *event.server):
        _snippet(snippet, out)


def _snippet(snippet: Snippet, out: Console) -> None:
    out.print(f"\n[dim]{snippet.title}[/dim]")
    out.print(snippet.code, markup=False, highlight=False, soft_wrap=True)
    if snippet.note:
        out.print(snippet.note, style="yellow", markup=False, highlight=False, soft_wrap=True)
