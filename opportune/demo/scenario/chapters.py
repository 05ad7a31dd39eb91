"""The demo story: what a newcomer sees happen, sent through the public endpoint and checked."""

from collections.abc import Callable, Iterator

from opportune.demo.scenario import deliveries, popups
from opportune.demo.scenario.model import Observer, Result, Teller
from opportune.events.send import Endpoint

Chapter = Callable[[Teller, Observer, str], Result]
CHAPTERS: tuple[Chapter, ...] = (
    popups.three_wins,
    popups.no_target,
    popups.broken_run,
    popups.too_slow,
    popups.in_time,
    popups.sent_twice,
    deliveries.thank_you_mail,
    deliveries.reminder,
    deliveries.reminder_cancelled,
    deliveries.capped,
    deliveries.held_out,
    deliveries.congratulations,
    deliveries.told_by_webhook,
)


def play(browser: Endpoint, server: Endpoint, witness: Observer, run: str, *, patient: bool = True) -> Iterator[Result]:
    """Play the story and yield its results one by one.

    *run* makes users of repeated stories distinct; *patient*: see `Teller`.
    """
    teller = Teller(browser, server, patient)
    for chapter in CHAPTERS:
        yield chapter(teller, witness, run)
