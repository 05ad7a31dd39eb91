"""The command `tags`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.rule import Rule
from rich.text import Text

from opportune.cli.options import Json
from opportune.cli.output import command, out, print_json

if TYPE_CHECKING:
    from opportune.site_tag.snippets import EventTags, SiteTags, Snippet

app = typer.Typer()


@command(app, "tags")
def tags(
    folder: Annotated[Path, typer.Argument(help="A folder of definitions.")],
    event: Annotated[str | None, typer.Argument(help="Name of an event. Default: all events.")] = None,
    url: Annotated[
        str | None, typer.Option(help="URL of your endpoint. Default: that of the running local system.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page for the web team.")] = None,
    as_json: Json = False,
) -> None:
    """Print the code to paste for each event: page script, attributes, JavaScript, and code for servers.

    Example: opportune tags campaigns/demo game_result
    """
    from opportune.site_tag import site_tags

    found = site_tags.load(folder, event, url)
    if html is not None:
        site_tags.write_page(found, html)
    if as_json:
        print_json(site_tags.as_json(found))
    elif html is not None:
        out.print(f"written to {html}", highlight=False, soft_wrap=True)
    else:
        _print_tags(found)


def _print_tags(found: "SiteTags") -> None:
    """Print the snippets flush left and without line breaks, so that they can be copied."""
    out.print(Rule(Text("Once", style="bold"), align="left"))
    _print_snippet(found.script)
    _print_snippet(found.identify)
    for each in found.events:
        _print_event(each)
    for placeholder, meaning in found.missing.items():
        out.print(Text.assemble("\nreplace ", (placeholder, "bold"), f" with {meaning}"), soft_wrap=True)


def _print_event(event: "EventTags") -> None:
    out.print()
    out.print(Rule(Text(event.event, style="bold"), align="left"))
    place = " ".join(part for part in (event.page, event.selector) if part)
    for line in (event.description, f"on {place}" if place else ""):
        if line:
            out.print(line, markup=False, highlight=False, soft_wrap=True)
    for snippet in (*event.browser, *event.server):
        _print_snippet(snippet)


def _print_snippet(snippet: "Snippet") -> None:
    out.print(Text(f"\n{snippet.title}", style="dim"))
    out.print(snippet.code, markup=False, highlight=False, soft_wrap=True)
    if snippet.note:
        out.print(snippet.note, style="yellow", markup=False, highlight=False, soft_wrap=True)
