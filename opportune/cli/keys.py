"""The commands about keys: write keys, and what proves user ids."""

# A command loads only what it needs.
# ruff: noqa: PLC0415

from typing import Annotated, Literal

import typer

from opportune.cli.output import Json, command, out, print_json

app = typer.Typer(help="Write keys, and the keys that prove user ids.", no_args_is_help=True)

KeyId = Annotated[str, typer.Option("--id", help="Id of the key in `identity` of site.yaml.")]


@command(app, "new")
def new(
    kind: Annotated[
        Literal["public", "secret"], typer.Argument(help="public: for pages; secret: for servers.")
    ] = "public",
    as_json: Json = False,
) -> None:
    """Make a write key, and say what to write in site.yaml. Nothing is stored: keep it, it is shown once.

    To rotate a key: add the new one, publish, move pages or servers to it, remove the old one, publish.

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
    """Show the secret that the site's server signs tokens with (HS256), or hashes user ids with (user_hash).

    It is derived from the deployment's secret, site and id: always the same, stored nowhere. To rotate it: add a key
    with a new id, publish, have the server sign with it, remove the old one after a day, publish.

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
    user: Annotated[str, typer.Argument(help="User id, as the site knows it.")],
    site: Annotated[str, typer.Option(help="Id of the site.")],
    key_id: KeyId,
    key: Annotated[str, typer.Option("--key", help="Public write key that the token is for.")],
    hours: Annotated[int, typer.Option(help="How long it lives, 1 to 24.")] = 1,
) -> None:
    """Make a token that proves a user id, to try it with: in production the site's own server does that.

    Example: opportune keys token anna --site shop --id spring-2026 --key wk_shop_public
    """
    from opportune.operations import keys
    from opportune.system import functions

    now_s = functions.system_clock()() // 1000
    made = keys.token(keys.identity_secret(), site, key_id, user, key, now_s=now_s, hours=hours)
    out.print(made, highlight=False, soft_wrap=True)
