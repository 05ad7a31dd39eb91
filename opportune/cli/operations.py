"""The commands about running campaigns: why, deliveries, pause, resume, forget."""

from functools import partial
from typing import Annotated

import msgspec
import typer

from opportune.cli.options import Json, MongoUrl, Site, SiteArgument, User
from opportune.cli.output import command, err, marked, out, print_json
from shared.channels import CHANNELS

app = typer.Typer()

Channel = Annotated[str | None, typer.Option(help=f"Only this channel: {', '.join(CHANNELS[:-1])} or {CHANNELS[-1]}.")]
Campaign = Annotated[str | None, typer.Option("--campaign", help="Only this campaign.")]


@command(app, "why")
def why(
    user: User,
    campaign: Annotated[str | None, typer.Argument(help="Id of a campaign. Default: all campaigns.")] = None,
    site: Site = None,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Show how far a user is in each campaign, which messages wait, the last decisions, and what blocks a campaign now.

    Example: opportune why anna three-wins
    """
    from opportune.operations.why import answer, snapshot, table
    from opportune.system import connection, functions, sites
    from shared.settings import DECIDER

    database = connection.database(mongodb_url)
    found = snapshot.read_snapshot(
        database, functions.function(DECIDER), sites.resolve(database, site), user, functions.system_clock()()
    )
    explained = answer.explain(found, campaign)
    if as_json:
        print_json(explained)
    else:
        table.print_answer(explained, out)


@command(app, "deliveries")
def deliveries(
    site: Site = None,
    user: Annotated[str | None, typer.Option(help="Only this user.")] = None,
    campaign: Campaign = None,
    channel: Channel = None,
    state: Annotated[list[str] | None, typer.Option(help="Only this state, such as unknown. Repeatable.")] = None,
    reason: Annotated[list[str] | None, typer.Option(help="Only this reason, such as cap. Repeatable.")] = None,
    since: Annotated[str, typer.Option(help="A duration such as 24h or 7d, or an ISO 8601 time.")] = "24h",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many to list.")] = 20,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """List activations with their delivery state, the newest first, and count them by state.

    Example: opportune deliveries --state suppressed --reason cap --since 7d
    """
    from opportune.operations import deliveries as ledger
    from opportune.system import connection, functions, sites

    database = connection.database(mongodb_url)
    now = functions.system_clock()()
    query = ledger.Query(
        site=sites.resolve(database, site),
        since=ledger.parse_since(since, now),
        user=user,
        campaign=campaign,
        channel=channel,
        states=state or (),
        reasons=reason or (),
        limit=limit,
    )
    listed = ledger.list_deliveries(database, query, now)
    if as_json:
        print_json(listed)
    else:
        ledger.print_deliveries(listed, now, out)


@command(app, "pause")
def pause(
    site: SiteArgument = None,
    channel: Channel = None,
    campaign: Campaign = None,
    listed: Annotated[bool, typer.Option("--list", help="Only list the pauses.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Pause a site, or one channel or campaign of it. Messages that come due meanwhile are held.

    Without a site, a channel or a campaign, the command asks for confirmation.

    Example: opportune pause shop --channel email
    """
    from opportune.operations import pauses
    from opportune.system import connection, sites

    database = connection.database(mongodb_url)
    name = sites.resolve(database, site)
    if listed:
        switched = pauses.PauseChange(name, "", changed=False, paused=pauses.paused(database, name))
    else:
        if site is None and channel is None and campaign is None and not yes:
            typer.confirm(f"Pause all messages of {name}, on every channel?", abort=True, err=True)
        switched = pauses.pause(database, name, channel=channel, campaign=campaign)
    if as_json:
        print_json(switched._asdict())
        return
    if not listed:
        what = pauses.describe(name, switched.what)
        out.print(f"{what} {'is' if switched.changed else 'was already'} paused. {pauses.PAUSED}", highlight=False)
    elif not switched.paused:
        out.print(f"nothing of {name} is paused")
    for each in switched.paused if listed else ():
        out.print(pauses.describe(name, each), highlight=False)


@command(app, "resume")
def resume(
    site: SiteArgument = None,
    channel: Channel = None,
    campaign: Campaign = None,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Lift a pause; other pauses stay. Held messages are sent unless they are too late.

    Example: opportune resume shop --channel email
    """
    from opportune.operations import pauses
    from opportune.system import connection, sites

    database = connection.database(mongodb_url)
    switched = pauses.resume(database, sites.resolve(database, site), channel=channel, campaign=campaign)
    if as_json:
        print_json(switched._asdict())
        return
    what = pauses.describe(switched.site, switched.what)
    outcome = f"{what} is resumed. {pauses.RESUMED}" if switched.changed else f"{what} was not paused."
    out.print(outcome, highlight=False)
    for each in switched.paused:
        out.print(f"still paused: {pauses.describe(switched.site, each)}", highlight=False)


@command(app, "forget")
def forget(
    user: User,
    site: Annotated[str, typer.Option(help="Id of the site.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Erase a user from every store, queue and schedule. The ledger keeps a salted hash. You may repeat the command.

    Exit code 1: events of the user still arrive.

    Example: opportune forget anna --site shop
    """
    from rich.table import Table

    from opportune.operations import forget as erasure
    from opportune.system import connection, functions, sites
    from shared.settings import DECIDER, ENGAGER

    database = connection.database(mongodb_url)
    name = sites.resolve(database, site)
    if not yes:
        typer.confirm(f"Erase everything stored about this user of {name}? This cannot be undone.", abort=True)
    reach = erasure.ForgetPorts(
        functions.function(DECIDER),
        functions.function(ENGAGER),
        functions.dead_queues(),
        partial(erasure.activations, database),
    )
    with err.status("erasing, then searching again for messages that were in progress"):
        erased = erasure.forget(name, user, reach)
    if as_json:
        print_json({**msgspec.to_builtins(erased), "found": erased.found, "totals": erased.totals})
    elif not erased.found:
        note = (
            "Is the id right? A user with this id will get no messages from now on."
            if erased.is_new
            else "The user was already erased."
        )
        out.print(f"nothing is stored about user {user!r} of {name}. {note}", markup=False, highlight=False)
    else:
        table = Table("store", *[f"pass {n}" for n in range(1, len(erased.passes) + 1)])
        for store in erased.totals:
            table.add_row(store, *[str(each.get(store, 0)) for each in erased.passes])
        out.print(table)
        if erased.totals.get("mongodb.lists"):
            out.print("The user was in a list. Remove the id from its file too, or the next publish restores it.")
        is_done = marked("erased", "green") if erased.done else marked("not done", "yellow", ": events still arrive")
        out.print(is_done)
    if not erased.done:
        err.print("Make the site stop sending events of this user, then repeat the command.")
        raise typer.Exit(1)
