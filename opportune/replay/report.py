"""Render a replay as one HTML page that loads nothing, runs no script, and prints."""

from importlib.resources import files
from typing import Any

import liquid

from definitions.model.campaign import Campaign
from opportune.replay import charts
from opportune.replay.explain.words import about, sentence, stamp
from opportune.replay.gates import count_by_gate
from opportune.replay.result import Backtest
from opportune.replay.tally import Tally, merge_users, width_name

MAX_COLUMNS = 60
MAX_BARS = 10
MAX_USERS = 1000
MAX_USERS_PRINTED = 40


def render(backtest: Backtest) -> str:
    """Return the page."""
    environment = liquid.Environment(autoescape=True, undefined=liquid.StrictUndefined)
    template = environment.from_string(files("opportune.replay").joinpath("report.html").read_text("utf-8"))
    return template.render(**_page(backtest))


def _page(backtest: Backtest) -> dict[str, Any]:
    span = backtest.span
    tallies = [backtest.tallies[campaign.id] for campaign in backtest.campaigns]
    page: dict[str, Any] = {
        "name": backtest.name,
        "events": f"{backtest.events:,}",
        "relevant": f"{backtest.relevant:,}",
        "duplicates": f"{backtest.duplicates:,}",
        "users": f"{len(span.users):,}",
        "matches": f"{sum(tally.matches for tally in tallies):,}",
        "matched": f"{len(merge_users(iter(tallies))):,}",
        "first": stamp(span.first) if span.first is not None else "",
        "last": stamp(span.last),
        "lasted": about(span.last - (span.first or 0)),
        "until": stamp(backtest.until) if backtest.until > span.last else "",
        "most_printed": MAX_USERS_PRINTED,
        "campaigns": [
            _campaign(campaign, tally, backtest, number)
            for number, (campaign, tally) in enumerate(zip(backtest.campaigns, tallies, strict=True), start=1)
        ],
    }
    return page


def _campaign(campaign: Campaign, tally: Tally, backtest: Backtest, number: int) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "number": number,
        "id": campaign.id,
        "name": campaign.name,
        "trigger": sentence(campaign.trigger),
        "matches": f"{tally.matches:,}",
        "absences": f"{tally.absences:,}" if tally.absences else "",
        "users": f"{len(tally.users):,}",
        "share": _percent(len(tally.users), len(backtest.span.users)),
        "stopped": count_by_gate(tally.stopped),
        "per_user": "–",
        "p10": "–",
        "median": "–",
        "p90": "–",
        "any": bool(tally.matches),
        "times": "",
        "took": "",
        "top": [],
        "left_out": "",
        "more_to_print": False,
    }
    if not tally.matches:
        return shown
    times = tally.times.buckets(backtest.span.first or 0, backtest.end, MAX_COLUMNS)
    took = tally.took.buckets(MAX_BARS)
    open_ended = bool(took) and tally.took.longest >= took[-1].end
    users = tally.most()
    shown |= {
        "per_user": f"{tally.matches / len(tally.users):.2f}",
        **{name: about(tally.took.quantile(at)) for name, at in (("p10", 0.1), ("median", 0.5), ("p90", 0.9))},
        "width": width_name(times),
        "times": charts.by_time(times, f"times-{number}"),
        "took": charts.by_duration(took, f"took-{number}", open_ended=open_ended) if took else "",
        "exact": tally.took.is_exact,
        "top": [
            {
                "rank": rank,
                "user": user,
                "matches": f"{matched.count:,}",
                "first": stamp(matched.first),
                "last": stamp(matched.last),
            }
            for rank, (user, matched) in enumerate(users[:MAX_USERS], start=1)
        ],
        "left_out": f"{len(users) - MAX_USERS:,}" if len(users) > MAX_USERS else "",
        "more_to_print": len(users) > MAX_USERS_PRINTED,
    }
    return shown


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if 0 < share < 10 else f"{share:.0f} %"
