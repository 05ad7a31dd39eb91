"""Print the result of a replay in the terminal."""

from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from definitions.model.campaign import Campaign
from opportune.replay.explain.words import about, count, duration, sentence, stamp
from opportune.replay.gates import count_by_gate
from opportune.replay.result import Backtest
from opportune.replay.tally import DAY_MS, Bucket, Tally, merge_users, width_name

MAX_ROWS = 30
MAX_BARS = 10
TOP_USERS = 10
MINUTE = len("2026-01-31 12:00")
BAR = 32
_EIGHTHS = "▏▎▍▌▋▊▉█"


def print_summary(backtest: Backtest, console: Console) -> None:
    """Print the totals, an overview of the campaigns, each campaign, and the users with most matches."""
    console.print(_head(backtest))
    console.print(_overview(backtest))
    for campaign in backtest.campaigns:
        tally = backtest.tallies[campaign.id]
        if tally.matches:
            _show_campaign(campaign, tally, backtest, console)
    users = _top_users(backtest)
    if users.row_count:
        console.print()
        console.print(users)
    else:
        console.print("No match. Add --explain USER to see why for one user.", style="yellow")


def _head(backtest: Backtest) -> Text:
    text = Text(backtest.name, style="bold")
    counts = (
        f": {count(backtest.events, 'event')} of {count(len(backtest.span.users), 'user')}, "
        f"{backtest.relevant:,} relevant, {count(backtest.duplicates, 'duplicate')}"
    )
    text.append(counts, style="not bold")
    if backtest.span.first is not None:
        span = f"\n{stamp(backtest.span.first)} to {stamp(backtest.span.last)} UTC"
        text.append(span + f" ({about(backtest.span.last - backtest.span.first)})", style="not bold dim")
        if backtest.until > backtest.span.last:
            text.append(f"; the clock ran on to {stamp(backtest.until)}", style="not bold dim")
    text.append("\nTarget groups are not applied: every user counts as a target.\n", style="not bold dim")
    return text


def _overview(backtest: Backtest) -> Table:
    legend = "p10, median, p90: time from the first event of a match to the match"
    table = Table(caption=legend, caption_justify="left")
    table.add_column("campaign", overflow="fold")
    for column in ("matches", "users", "per user", "p10", "median", "p90"):
        table.add_column(column, justify="right")
    for campaign in backtest.campaigns:
        tally = backtest.tallies[campaign.id]
        if not tally.matches:
            table.add_row(Text(campaign.id), "0", "0", *["–"] * 4)
            continue
        per_user = f"{tally.matches / len(tally.users):.2f}"
        times = [about(tally.took.quantile(share)) for share in (0.1, 0.5, 0.9)]
        table.add_row(Text(campaign.id), f"{tally.matches:,}", f"{len(tally.users):,}", per_user, *times)
    return table


def _show_campaign(campaign: Campaign, tally: Tally, backtest: Backtest, console: Console) -> None:
    console.print()
    heading = Text(campaign.id, style="bold cyan")
    heading.append(f"  {campaign.name}", style="not bold")
    heading.append(f"\n{sentence(campaign.trigger)}", style="not bold default dim")
    if tally.stopped:
        stopped = f"\nlive, gates would stop {tally.stopped.total():,} of {tally.matches:,}: "
        heading.append(stopped + count_by_gate(tally.stopped), style="not bold yellow")
    console.print(heading)
    simple = console.options.ascii_only
    buckets = tally.times.buckets(backtest.span.first or 0, backtest.end, MAX_ROWS)
    charts: list[RenderableType] = [
        Group(Text(f"matches per {width_name(buckets)}", style="italic"), _chart(_by_time(buckets), simple=simple))
    ]
    if tally.took.longest:
        note = "" if tally.took.is_exact else " (within 1 %)"
        title = Text(f"first event to match{note}", style="italic")
        charts.append(Group(title, _chart(_by_duration(tally), simple=simple)))
    console.print(Columns([Padding(chart, (0, 3, 0, 0)) for chart in charts]))


def _by_time(buckets: Sequence[Bucket]) -> list[tuple[str, int]]:
    by_day = buckets[0].end - buckets[0].start >= DAY_MS
    rows = []
    day = ""
    for bucket in buckets:
        date, time = stamp(bucket.start).split()
        shown = date if by_day else f"{date if date != day else '':10} {time[:5]}"
        rows.append((shown, bucket.matches))
        day = date
    return rows


def _by_duration(tally: Tally) -> list[tuple[str, int]]:
    buckets = tally.took.buckets(MAX_BARS)
    rows = [(f"{duration(each.start)} – {duration(each.end)}", each.matches) for each in buckets]
    if buckets and tally.took.longest >= buckets[-1].end:
        rows[-1] = (f"{duration(buckets[-1].start)} or more", buckets[-1].matches)
    return rows


def _chart(rows: Sequence[tuple[str, int]], *, simple: bool) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True, style="dim")
    table.add_column(width=BAR, no_wrap=True, style="green")
    table.add_column(justify="right", no_wrap=True)
    most = max((matches for _, matches in rows), default=0) or 1
    for name, matches in rows:
        table.add_row(name, _bar(matches / most, simple=simple), f"{matches:,}" if matches else "·")
    return table


def _bar(share: float, *, simple: bool) -> str:
    if simple:
        return "#" * round(BAR * share)
    full, eighths = divmod(round(BAR * 8 * share), 8)
    if share and not full and not eighths:
        eighths = 1
    return "█" * full + (_EIGHTHS[eighths - 1] if eighths else "")


def _top_users(backtest: Backtest) -> Table:
    users = merge_users(iter(backtest.tallies.values()))
    shown = users[:TOP_USERS]
    more = f" ({len(shown)} of {len(users):,})" if len(users) > len(shown) else ""
    table = Table(title=f"Most matches{more}", title_justify="left")
    table.add_column("user", overflow="fold")
    table.add_column("matches", justify="right")
    table.add_column("first (UTC)", no_wrap=True)
    table.add_column("last (UTC)", no_wrap=True)
    several = len(backtest.campaigns) > 1
    for user, matched in shown:
        each = [
            f"{name} {tally.users[user].count:,}" for name, tally in backtest.tallies.items() if user in tally.users
        ]
        name = Text(user)
        if several:
            name.append(f"\n{', '.join(each)}", style="dim")
        table.add_row(name, f"{matched.count:,}", stamp(matched.first)[:MINUTE], stamp(matched.last)[:MINUTE])
    return table
