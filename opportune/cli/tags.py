"""The command about tags."""

# A command loads only what it needs.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from opportune.cli.output import Json, command, out, print_json

app = typer.Typer()


@command(app, "tags")
def tags(
    folder: Annotated[Path, typer.Argument(help="A folder of definitions.")],
    event: Annotated[str | None, typer.Argument(help="Name of an event; default: all.")] = None,
    url: Annotated[str | None, typer.Option(help="Your endpoint; default: the running local stack's.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page to hand to the web team.")] = None,
    as_json: Json = False,
) -> None:
    """Print what to paste so that the site sends its events: page script, attributes, JavaScript, and servers' code.

    Example: opportune tags campaigns/demo game_result
    """
    from opportune.cli import tags_command as printing

    found = printing.read(folder, event, url)
    if html is not None:
        printing.write_page(found, html)
    if as_json:
        print_json(printing.told(found))
    elif html is not None:
        out.print(f"written to {html}", highlight=False, soft_wrap=True)
    else:
        printing.show(found, out)
