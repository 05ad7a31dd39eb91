"""The commands about the local system: run, outbox."""

from typing import Annotated

import typer

from opportune.cli.options import Json, Url
from opportune.cli.output import command, out, print_json

app = typer.Typer()


@command(app, "run")
def run(
    once: Annotated[
        bool, typer.Option("--once", help="Stop after the demo. Exit with 0 only if every outcome was as expected.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the public endpoint. Default: any free port.")
    ] = None,
    speed: Annotated[
        float, typer.Option(min=1, max=3600, help="How many times as fast as real time the system's clock runs.")
    ] = 1.0,
) -> None:
    """Start the whole system on this machine and play the demo.

    Example: opportune run --once
    """
    from opportune.demo import run as demo

    raise typer.Exit(demo.run(once=once, port=port, speed=speed, console=out))


@command(app, "outbox")
def outbox(url: Url = None, as_json: Json = False) -> None:
    """List the e-mails, text messages, pushes and webhooks that the local system sent. None leaves this machine.

    Example: opportune outbox
    """
    from opportune.operations import outbox as messages
    from opportune.system import connection

    endpoint = connection.endpoint(url)
    sent = messages.fetch(endpoint)
    if as_json:
        print_json(sent)
    else:
        out.print(messages.message_table(sent) if sent else "nothing was sent yet")
        out.print(f"full messages: {endpoint}/outbox", highlight=False)
