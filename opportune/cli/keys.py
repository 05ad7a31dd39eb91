"""The commands about keys: new, identity, token."""

from typing import Annotated, Literal

import typer

from opportune.cli.options import Json, User
from opportune.cli.output import command, out, print_json

app = typer.Typer(help="Write keys, and keys that prove user ids.", no_args_is_help=True)

KeyId = Annotated[str, typer.Option("--id", help="Id of the key in `identity` of site.yaml.")]


@command(app, "new")
def new(
    kind: Annotated[
        Literal["public", "secret"], typer.Argument(help="public for web pages, secret for servers.")
    ] = "public",
    as_json: Json = False,
) -> None:
    """Make a write key and print the line for site.yaml. The key is shown once and stored nowhere.

    To rotate a key: add the new one and publish, switch pages or servers to it, remove the old one and publish.

    Example: opportune keys new secret
    """
    from opportune.operations import keys

    made = keys.new_write_key(kind)
    if as_json:
        print_json(made)
        return
    out.print(f"key        {made['key']}", highlight=False, soft_wrap=True)
    out.print(f"site.yaml  {made['site_yaml']}", highlight=False, markup=False, soft_wrap=True)


@command(app, "identity")
def identity(
    site: Annotated[str, typer.Argument(help="Id of the site.")],
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key in `identity` of site.yaml.")],
    as_json: Json = False,
) -> None:
    """Print the secret with which the site's server signs tokens (HS256) or hashes user ids (user_hash).

    The secret is derived from the deployment's secret, the site and the id, so it is stored nowhere. To rotate it:
    add a key with a new id and publish, sign with the new secret, remove the old key a day later and publish.

    Example: opportune keys identity shop spring-2026
    """
    from opportune.operations import keys
    from shared.signing import identity_key

    key = identity_key(keys.identity_secret(), site, key_id)
    if as_json:
        print_json({"site": site, "id": key_id, "key": key})
    else:
        out.print(key, highlight=False, soft_wrap=True)


@command(app, "token")
def token(
    user: User,
    site: Annotated[str, typer.Option(help="Id of the site.")],
    key_id: KeyId,
    key: Annotated[str, typer.Option("--key", help="Public write key that the token is valid for.")],
    hours: Annotated[int, typer.Option(help="Hours until the token expires, 1 to 24.")] = 1,
) -> None:
    """Make a token that proves a user id, for tests. In production the site's own server makes it.

    Example: opportune keys token anna --site shop --id spring-2026 --key wk_shop_public
    """
    from opportune.operations import keys
    from opportune.system import functions

    now_s = functions.system_clock()() // 1000
    text = keys.token(keys.identity_secret(), site, key_id, user, key, now_s=now_s, hours=hours)
    out.print(text, highlight=False, soft_wrap=True)
