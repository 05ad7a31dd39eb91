"""Print the answer of `opportune why`: a block per campaign that ends with the verdict."""

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from opportune.operations.deliveries import outcome
from opportune.operations.why.model import Answer, CampaignAnswer, LimitUse
from opportune.operations.why.stages import when
from opportune.replay.explain import words

MAX_STAGES = 5


def print_answer(answer: Answer, console: Console) -> None:
    """Print *answer*."""
    head = Text(answer.user, style="bold")
    generation = f"targets of generation {answer.generation}" if answer.generation else "no targets yet"
    head.append(f"  {answer.site}, ruleset {answer.ruleset}, {generation}", style="not bold")
    head.append(f", at {words.stamp(answer.now // 1000 * 1000)} UTC", style="not bold dim")
    console.print(head)
    for note in answer.notes:
        console.print(Text(f"note: {note}", style="yellow"))
    for told in answer.campaigns:
        console.print()
        _campaign(told, answer.now, console)


def _campaign(told: CampaignAnswer, now: int, console: Console) -> None:
    heading = Text(told.campaign, style="bold cyan")
    heading.append(f"  {told.name}", style="not bold default")
    heading.append(f"  ({told.channel})", style="not bold dim default")
    console.print(heading)
    if told.trigger:
        console.print(Text(told.trigger, style="dim"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for label, text in _rows(told, now):
        grid.add_row(label, text)
    console.print(Padding(grid, (0, 0, 0, 2)))
    sign, style = ("✗", "bold yellow") if told.is_in_way else ("→", "bold green")
    verdict = Table.grid(padding=(0, 1))
    verdict.add_column(no_wrap=True)
    verdict.add_column(overflow="fold")
    verdict.add_row(Text(sign, style=style), Text(told.verdict, style=style))
    console.print(verdict)


def _rows(told: CampaignAnswer, now: int) -> Iterator[tuple[str, Text]]:
    yield "target", _target(told)
    labels = iter(["progress"])
    for stage in told.stages[:MAX_STAGES]:
        run = f"{words.run(stage.per)}: " if stage.per else ""
        yield next(labels, ""), Text(run + stage.text)
    if len(told.stages) > MAX_STAGES:
        yield "", Text(f"and {len(told.stages) - MAX_STAGES} more", style="dim")
    if not told.stages:
        yield next(labels, ""), Text("none", style="dim")
    labels = iter(["pending"])
    for each in told.waiting:
        yield next(labels, ""), Text(f"will be sent {when(each.due, now)}")
    labels = iter(["limits"])
    for limit in told.limits:
        yield next(labels, ""), _limit(limit, now)
    labels = iter(["decisions"])
    for decision in told.decisions:
        text = Text(f"{words.stamp(decision.at // 1000 * 1000, near=now)}  ")
        text.append_text(outcome(decision, now))
        yield next(labels, ""), text
    if not told.decisions:
        yield next(labels, ""), Text("none yet", style="dim")


def _target(told: CampaignAnswer) -> Text:
    if not told.groups:
        return Text("yes: the campaign is for everyone")
    mine = [group.id for group in told.groups if group.member]
    named = ", ".join(mine or [group.id for group in told.groups])
    if told.target:
        return Text(f"yes: {named}" if mine else f"yes: {named} at the last refresh, but not any more")
    return Text(f"no: {named}" if not mine else f"not yet: {named}", style="yellow")


def _limit(limit: LimitUse, now: int) -> Text:
    name = "this campaign" if limit.name == "campaign" else limit.name
    text = Text(f"{name}: {limit.used} of {limit.most} in {words.duration(limit.per)}")
    if limit.is_full:
        text.stylize("yellow")
    if limit.frees is not None:
        text.append(f", the next slot opens {when(limit.frees, now)}")
    return text
