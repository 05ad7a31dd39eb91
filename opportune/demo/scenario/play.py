"""The demo scenario: customers act through the public endpoint, and each outcome is checked."""

from collections.abc import Callable, Iterator

from opportune.demo.scenario import deliveries, popups
from opportune.demo.scenario.model import Observer, Result, TrackingClient
from opportune.events.send import Endpoint

Case = Callable[[TrackingClient, Observer, str], Result]
CASES: tuple[Case, ...] = (
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
    deliveries.webhook,
)


def play(
    browser: Endpoint, server: Endpoint, observer: Observer, run: str, *, retry_busy: bool = True
) -> Iterator[Result]:
    """Play the cases one after the other and yield the result of each.

    browser: the endpoint, with a public write key
    server: the endpoint, with a secret write key
    observer: finds out what was matched and delivered
    run: ends the user ids, so that runs do not share users
    retry_busy: see `TrackingClient`
    """
    client = TrackingClient(browser, server, retry_busy)
    for case in CASES:
        yield case(client, observer, run)
