"""Run campaigns over recorded events: for all users, or step by step for one user."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from definitions.checks.check import check
from definitions.compiler import delivery
from definitions.compiler.ruleset import compile_campaign
from definitions.loading import folder
from definitions.model.campaign import Campaign
from definitions.model.site import Site
from opportune.replay import report
from opportune.replay.engine import Match, Replay
from opportune.replay.explain import explanation
from opportune.replay.explain.model import Explained
from opportune.replay.explain.words import count
from opportune.replay.gates import Gates, LiveCampaign, judge
from opportune.replay.recording import InvalidReplay, Recording
from opportune.replay.result import Backtest
from opportune.replay.tally import Tally
from shared.errors import InvalidDefinition


class SiteCampaign(NamedTuple):
    """A campaign and its site."""

    campaign: Campaign
    site: Site

    def compile(self) -> LiveCampaign:
        """Return the campaign as it would be live."""
        campaign, site = self
        return LiveCampaign(compile_campaign(campaign, site), site.id, delivery.caps(site))


class UserExplanation(msgspec.Struct):
    """The number of a user's events, and an explanation per campaign. ``until``: when the clock stopped, ms."""

    user: str
    events: int
    until: int
    campaigns: list[Explained]


def load_campaigns(paths: Sequence[Path]) -> list[SiteCampaign]:
    """Return the campaigns in files and folders by id. The same campaign may be in several of them.

    Raise `InvalidDefinition` if two campaigns have the same id, or if there is none.
    """
    campaigns: dict[str, SiteCampaign] = {}
    for path in paths:
        definitions = check(folder.load(path), {})
        for campaign in definitions.campaigns:
            if campaigns.setdefault(campaign.id, SiteCampaign(campaign, definitions.site)).campaign != campaign:
                raise InvalidDefinition(
                    f"{path}: another campaign has the id '{campaign.id}', with a different definition: rename one"
                )
    if not campaigns:
        raise InvalidDefinition(f"no campaign in {', '.join(str(path) for path in paths)}")
    return [campaigns[name] for name in sorted(campaigns)]


def run_backtest(
    campaigns: Sequence[SiteCampaign], recording: Recording, on_match: Callable[[Match, str | None], None]
) -> Backtest:
    """Replay *recording*. Call *on_match* with each match and the gate that would have stopped it live, if any."""
    live = [each.compile() for each in campaigns]
    gates = Gates(live)
    replay = Replay([each.campaign for each in live], on_login=gates.join)
    tallies = {each.campaign.id: Tally() for each in live}

    def tally(matches: Iterable[Match]) -> None:
        for match, gate in gates.judge(matches):
            tallies[match.campaign].add(match, gate)
            on_match(match, gate)

    tally(replay.run(recording.read_in_order()))
    tally(replay.finish(recording.until))
    return Backtest(
        name=recording.path.name,
        campaigns=[each.campaign for each in campaigns],
        tallies=tallies,
        span=recording.span,
        until=recording.until,
        events=replay.events,
        relevant=replay.relevant,
        duplicates=replay.duplicates,
    )


def explain_user(campaigns: Sequence[SiteCampaign], recording: Recording, user: str) -> UserExplanation:
    """Replay the events of *user* and explain the effect of each. ``events`` is 0 if the user has none."""
    events = explanation.gather(recording, user, in_order=recording.in_order)
    explained = explanation.explain([each.campaign for each in campaigns], events, recording.until)
    judge(user, explained, [each.compile() for each in campaigns])
    return UserExplanation(user, len(events), recording.until, explained)


def describe_unknown_user(recording: Recording, user: str) -> str:
    """Return a message that *user* has no events, with up to three user ids that contain *user*."""
    users, wanted = recording.span.users, user.strip().lower()
    similar = sorted(each for each in users if wanted and wanted in each.lower())[:3]
    hint = f", such as {', '.join(repr(each) for each in similar)}" if similar else ""
    return f"{recording.path.name} has no event of user {user!r}; it has events of {count(len(users), 'user')}{hint}"


def check_report_path(path: Path) -> None:
    """Raise `InvalidReplay` if a report cannot be written to *path*. Call it before the replay, which takes longer."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InvalidReplay(f"--html: {path} is not a file in an existing folder")


def write_report(path: Path, backtest: Backtest) -> None:
    """Write *backtest* as an HTML page; raise `InvalidReplay` if that fails."""
    try:
        path.write_text(report.render(backtest), encoding="utf-8")
    except OSError as error:
        raise InvalidReplay(f"--html: {path} cannot be written: {error.strerror}") from error
