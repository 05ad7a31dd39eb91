"""The command about webhooks: webhook-key."""

# A command loads only what it needs.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from opportune.cli.output import Json, MongoUrl, command, err, print_json

app = typer.Typer()


@command(app, "webhook-key")
def webhook_key(
    site: Annotated[str | None, typer.Argument(help="Id of the site; default: the only one.")] = None,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Print the key that a site's webhooks are signed with: their receiver checks Opportune-Signature with it.

    It follows from OPPORTUNE_SIGNING_SECRET, which may be the ARN of the secret. Keep it secret.

    Example: opportune webhook-key shop
    """
    from opportune.system import connection, sites
    from shared import signing

    named = sites.resolve(connection.database(mongodb_url), site)
    key = signing.webhook_key(connection.signing_secret(), named)
    if as_json:
        print_json({"site": named, "key": key})
        return
    err.print(f"the key of {named}'s webhooks, as text:", highlight=False)
    typer.echo(key)
