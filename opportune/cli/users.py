"""The commands about people and what they get: why, deliveries, pause, resume, forget."""

# A command loads only what it needs.
# ruff: noqa: PLC0415

from functools import partial
from typing import Annotated

import msgspec
import typer

from opportune.cli.output import Json, MongoUrl, command, err, out, print_json

app = typer.Typer()

User = Annotated[str, typer.Argument(help="User id, as the site knows it.")]
Site = Annotated[str | None, typer.Option(help="Id of the site; default: the only one.")]


@command(app, "why")
def why(
    user: User,
    campaign: Annotated[str | None, typer.Argument(help="Id of a campaign; default: all.")] = None,
    site: Site = None,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Tell how far a user is in each campaign, what waits, what was decided, and what stands in the way now.

    Example: opportune why anna three-wins
    """
    from opportune.operations.why import answer, snapshot, table
    from opportune.system import connection, functions, sites
    from shared.settings import DECIDER

    database = connection.database(mongodb_url)
    found = snapshot.read(
        database, functions.function(DECIDER), sites.resolve(database, site), user, functions.system_clock()()
    )
    told = answer.answer(found, campaign)
    if as_json:
        print_json(told)
    else:
        table.show(told, out)


@command(app, "deliveries")
def deliveries(
    site: Site = None,
    user: Annotated[str | None, typer.Option(help="Of this user only.")] = None,
    campaign: Annotated[str | None, typer.Option(help="Of this campaign only.")] = None,
    channel: Annotated[str | None, typer.Option(help="Of this channel only.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="In this state only, such as unknown; repeatable.")] = None,
    reason: Annotated[list[str] | None, typer.Option(help="For this reason only, such as cap; repeatable.")] = None,
    since: Annotated[str, typer.Option(help="A duration such as 24h or 7d, or an ISO-8601 time.")] = "24h",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many are listed.")] = 20,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """List what became of activations, the newest first, and how many of them there are in each state.

    Example: opportune deliveries --state suppressed --reason cap --since 7d
    """
    from opportune.operations import deliveries as ledger
    from opportune.system import connection, functions, sites

    database = connection.database(mongodb_url)
    now = functions.system_clock()()
    query = ledger.Query(
        site=sites.resolve(database, site),
        since=ledger.read_since(since, now),
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
        ledger.show(listed, now, out)


SiteArgument = Annotated[str | None, typer.Argument(help="Id of the site; default: the only one.")]
Channel = Annotated[str | None, typer.Option(help="Only this channel: popup, email, sms, push or webhook.")]
CampaignOption = Annotated[str | None, typer.Option("--campaign", help="Only this campaign.")]


@command(app, "pause")
def pause(
    site: SiteArgument = None,
    channel: Channel = None,
    campaign: CampaignOption = None,
    listed: Annotated[bool, typer.Option("--list", help="Change nothing; list what is paused.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Stop what a site sends, or a channel or a campaign of it. What matches meanwhile is held.

    Where neither a site nor a part of it is named, it asks first.

    Example: opportune pause shop --channel email
    """
    from opportune.operations import pauses
    from opportune.system import connection, sites

    database = connection.database(mongodb_url)
    named = sites.resolve(database, site)
    if listed:
        switched = pauses.Switched(named, "", changed=False, paused=pauses.paused(database, named))
    else:
        if site is None and channel is None and campaign is None and not yes:
            typer.confirm(f"Pause all that {named} sends, on every channel?", abort=True, err=True)
        switched = pauses.pause(database, named, channel=channel, campaign=campaign)
    if as_json:
        print_json(switched._asdict())
        return
    if not listed:
        what = pauses.said(named, switched.what)
        out.print(f"{what} {'is paused' if switched.changed else 'was paused already'}. {pauses.WHEN}", highlight=False)
    elif not switched.paused:
        out.print(f"nothing of {named} is paused")
    for each in switched.paused if listed else ():
        out.print(pauses.said(named, each), highlight=False)


@command(app, "resume")
def resume(
    site: SiteArgument = None,
    channel: Channel = None,
    campaign: CampaignOption = None,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Lift a pause; other pauses stay. What was held is sent where it is not too late.

    Example: opportune resume shop --channel email
    """
    from opportune.operations import pauses
    from opportune.system import connection, sites

    database = connection.database(mongodb_url)
    switched = pauses.resume(database, sites.resolve(database, site), channel=channel, campaign=campaign)
    if as_json:
        print_json(switched._asdict())
        return
    what = pauses.said(switched.site, switched.what)
    said = f"{what} goes on. {pauses.WHEN}" if switched.changed else f"{what} was not paused."
    out.print(said, highlight=False)
    for each in switched.paused:
        out.print(f"still paused: {pauses.said(switched.site, each)}", highlight=False)


@command(app, "forget")
def forget(
    user: User,
    site: Annotated[str, typer.Option(help="Id of the site.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    mongodb_url: MongoUrl = None,
    as_json: Json = False,
) -> None:
    """Erase a user everywhere, for ever; the ledger keeps a salted hash. May be repeated.

    Exit code 1: events of the user still come in.

    Example: opportune forget anna --site shop
    """
    from rich.table import Table

    from opportune.operations import forget as erasure
    from opportune.system import connection, functions, sites
    from shared.settings import DECIDER, ENGAGER

    database = connection.database(mongodb_url)
    named = sites.resolve(database, site)
    if not yes:
        typer.confirm(f"Erase all that is stored of this user of {named}? Nobody can undo it.", abort=True)
    reach = erasure.Reach(
        functions.function(DECIDER),
        functions.function(ENGAGER),
        functions.dead_queues(),
        partial(erasure.activations, database),
    )
    with err.status("erasing, and looking again for what was on its way"):
        erased = erasure.forget(named, user, reach)
    if as_json:
        print_json({**msgspec.to_builtins(erased), "found": erased.found, "totals": erased.totals})
    elif not erased.found:
        what = f"nothing is stored of a user {user!r} at {named}"
        why_not = "Is the id right? Whoever has it will get no message from now on." if erased.is_new else ""
        out.print(f"{what}. {why_not or 'He was forgotten before.'}", markup=False, highlight=False)
    else:
        table = Table("store", *[f"pass {n}" for n in range(1, len(erased.passes) + 1)])
        for store in erased.totals:
            table.add_row(store, *[str(each.get(store, 0)) for each in erased.passes])
        out.print(table)
        if erased.totals.get("mongodb.lists"):
            out.print("He was in a list of users: take him out of its file too, or a publish brings him back.")
        out.print("[green]forgotten[/green]" if erased.done else "[yellow]not done[/yellow]: events still come in")
    if not erased.done:
        err.print("Stop the site from sending events of this user, then repeat the command.")
        raise typer.Exit(1)
