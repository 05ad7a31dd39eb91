"""Read the messages that the local system's providers accepted."""

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
MAX_CHARACTERS = 120


class NoOutbox(OpportuneError):
    """The address has no outbox: only a local system has one."""

    code = "no_outbox"


def fetch(url: str) -> list[Accepted]:
    """Return the messages that the local system at *url* has sent, oldest first. Raises `NoOutbox`."""
    try:
        with urllib3.PoolManager(retries=False, timeout=TIMEOUT_S) as pool:
            answer = pool.request("GET", url.rstrip("/") + JSON_PATH)
        return msgspec.json.decode(answer.data, type=list[Accepted])
    except (urllib3.exceptions.HTTPError, msgspec.DecodeError) as error:
        raise NoOutbox(f"{url} has no outbox: start a local system with `opportune run`") from error


def message_table(messages: Iterable[Accepted]) -> Table:
    """Return a table that fits 80 columns, with a row per message."""
    shown = Table()
    for column in ("UTC", "channel"):
        shown.add_column(column, no_wrap=True)
    shown.add_column("recipient, text, activation", overflow="fold")
    for message in messages:
        at = datetime.fromtimestamp(message.at / 1000, UTC)
        words = " ".join((message.subject or message.text).split())
        # Text, not markup: a message may contain brackets.
        cell = Text(", ".join(message.to), style="bold")
        for line, style in ((shorten(words), "not bold"), (message.activation, "not bold dim")):
            cell.append(f"\n{line}" if line else "", style=style)
        shown.add_row(f"{at:%m-%d %H:%M:%S}", message.channel, cell)
    return shown


def shorten(words: str) -> str:
    """Return *words*, cut after 120 characters."""
    return words if len(words) <= MAX_CHARACTERS else words[: MAX_CHARACTERS - 1] + "…"
