"""`opportune outbox`: what the running local system has sent, as its stand-ins accepted it."""

from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
import urllib3
from rich.table import Table
from rich.text import Text

from opportune.local.accepted import Accepted
from opportune.local.outbox_page import JSON_PATH
from shared.errors import OpportuneError

TIMEOUT_S = 10
MOST_CHARACTERS = 120


class NoOutbox(OpportuneError):
    """There is no outbox at the address: only a local system has one."""

    code = "no_outbox"


def fetch(url: str) -> list[Accepted]:
    """Return what the local system at *url* has sent, oldest first; raises `NoOutbox`."""
    try:
        with urllib3.PoolManager(retries=False, timeout=TIMEOUT_S) as pool:
            answer = pool.request("GET", url.rstrip("/") + JSON_PATH)
        return msgspec.json.decode(answer.data, type=list[Accepted])
    except (urllib3.exceptions.HTTPError, msgspec.DecodeError) as error:
        raise NoOutbox(f"no outbox at {url}: only a running local system has one, see `opportune run`") from error


def table(messages: Iterable[Accepted]) -> Table:
    """Return a table with a row per message, which fits 80 columns."""
    shown = Table()
    for column in ("UTC", "channel"):
        shown.add_column(column, no_wrap=True)
    shown.add_column("to whom, what, for which activation", overflow="fold")
    for message in messages:
        at = datetime.fromtimestamp(message.at / 1000, UTC)
        words = " ".join((message.subject or message.text).split())
        # Text, not markup: whoever wrote a message may have used brackets.
        told = Text(", ".join(message.to), style="bold")
        for line, style in ((shortened(words), "not bold"), (message.activation, "not bold dim")):
            told.append(f"\n{line}" if line else "", style=style)
        shown.add_row(f"{at:%m-%d %H:%M:%S}", message.channel, told)
    return shown


def shortened(words: str) -> str:
    """Return *words*, cut after 120 characters."""
    return words if len(words) <= MOST_CHARACTERS else words[: MOST_CHARACTERS - 1] + "…"
