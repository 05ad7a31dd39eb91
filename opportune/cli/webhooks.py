"""The command `webhook-key`."""

import typer

from opportune.cli.options import Json, MongoUrl, SiteArgument
from opportune.cli.output import command, err, print_json

app = typer.Typer()


@command(app, "webhook-key")
def webhook_key(site: SiteArgument = None, mongodb_url: MongoUrl = None, as_json: Json = False) -> None:
    """Print the key that signs a site's webhooks. Receivers check the header Opportune-Signature with it.

    The key is derived from OPPORTUNE_SIGNING_SECRET, which may hold the ARN of a secret. Keep the key secret.

    Example: opportune webhook-key shop
    """
    from opportune.system import connection, sites
    from shared import signing

    name = sites.resolve(connection.database(mongodb_url), site)
    key = signing.webhook_key(connection.signing_secret(), name)
    if as_json:
        print_json({"site": name, "key": key})
        return
    err.print(f"key of the webhooks of {name}:", highlight=False)
    typer.echo(key)
