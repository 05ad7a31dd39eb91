"""The tags of a folder of definitions: loaded, as JSON, and as a page for the web team."""

import re
from pathlib import Path
from typing import Any

from definitions.checks.check import check
from definitions.loading import folder as folders
from opportune.site_tag.snippets import SiteTags, tags
from opportune.system import connection
from opportune.system.connection import NotConnected
from shared.errors import InvalidRequest


def load(folder: Path, event: str | None, url: str | None) -> SiteTags:
    """Return the tags of the definitions in *folder*, or of one *event*.

    The endpoint is *url*, or that of a running system, or else a placeholder. Raise `InvalidRequest` for
    a *url* that is not an address, and for an unknown event.
    """
    definitions = check(folders.load(folder), connection.environment())
    try:
        endpoint: str | None = connection.endpoint(url)
        if endpoint and not re.match(r"https?://[^/\s]", endpoint):
            raise InvalidRequest(f"{endpoint}: an endpoint begins with https://", code="invalid_url")
    except NotConnected:
        endpoint = None
    return tags(definitions, endpoint.rstrip("/") if endpoint else None, event)


def as_json(found: SiteTags) -> dict[str, Any]:
    """Return the tags in the shape of `opportune tags --json`."""
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
    """Write the tags as a page; raise `InvalidRequest` if *path* cannot be written."""
    from opportune.site_tag import page  # noqa: PLC0415 - only pages need Liquid

    try:
        path.write_text(page.render(found), encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror}") from error
