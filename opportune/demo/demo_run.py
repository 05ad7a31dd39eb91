"""`opportune run`: the whole system on this machine, the demo story, then the demo site until Ctrl-C."""

import secrets
import signal
import threading
from typing import Any

from pymongo import UpdateOne
from pymongo.database import Database
from rich.console import Console
from rich.table import Table

from opportune.authoring import publishing
from opportune.demo.scenario import chapters
from opportune.demo.scenario.customers import customers
from opportune.events.send import Endpoint
from opportune.local.accepted import Channel
from opportune.local.stack import Stack
from opportune.system.checkout import ROOT
from opportune.system.connection import STATE_DIR
from shared import mongodb
from shared.mongodb import Document

DEFINITIONS = ROOT / "campaigns" / "demo"
DEMO_SITE = ROOT / "web" / "demo"
PUBLIC_KEY = "wk_demo_public"
SECRET_KEY_VARIABLE = "OPPORTUNE_DEMO_SECRET_KEY"


class StackWitness:
    """`story.Witness` over the ledger and the outbox of the local stack."""

    def __init__(self, stack: Stack, database: Database[Document]) -> None:
        self._stack = stack
        self.speed = stack.speed
        self._database = database

    def matches(self, user: str, campaign: str) -> list[dict[str, Any]]:
        """Return the ledger's rows of *user* and *campaign*."""
        return list(self._database.activations.find({"user": user, "campaign": campaign}))

    def arrived(self, channel: Channel, to: str) -> int:
        """Return how many messages of *channel* were accepted for *to*, or speak of it."""
        return sum(any(to in text for text in (*each.to, each.text)) for each in self._stack.accepted(channel))

    def settle(self) -> None:
        """Wait until the queue of deliveries is empty."""
        self._stack.drain()


def run(*, once: bool, port: int | None, speed: float = 1.0, console: Console) -> int:
    """Start, tell the story, serve; return the exit code."""
    secret_key = secrets.token_urlsafe(24)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits it ignored
    with Stack(
        state_dir=STATE_DIR,
        port=port,
        demo_dir=DEMO_SITE,
        keys={SECRET_KEY_VARIABLE: secret_key},
        ses_identities=("casino.example",),
        speed=speed,
        progress=lambda label, state: console.print(f"  [dim]{label}[/dim] {state}", highlight=False),
    ) as stack:
        database = mongodb.database(stack.mongodb_url, "opportune")
        token = secrets.token_hex(2)
        import_customers(database, token)
        published = publishing.publish_folder(database, DEFINITIONS, {SECRET_KEY_VARIABLE: secret_key})
        publishing.refresh_targets(database, published.site)
        console.print(
            f"  [dim]campaigns[/dim] {published.campaigns} live, ruleset {published.version}", highlight=False
        )

        passed = _tell(stack, database, token, secret_key, console)
        if once:
            return 0 if passed else 1
        console.print(f"\n  demo site   [bold]{stack.http_url}/demo/[/bold]")
        console.print(f"  endpoint    {stack.http_url}/v1/track   (write key {PUBLIC_KEY})")
        console.print(f"  outbox      {stack.http_url}/outbox")
        console.print("  Ctrl-C stops everything.")
        try:
            while not stopping.wait(0.5):
                pass
        except KeyboardInterrupt:
            console.print("\nstopping")
        return 0


def import_customers(database: Database[Document], token: str) -> None:
    """Store the customers of the story, whose names end in *token*, and the one who tries the demo site."""
    people = [
        *customers(token),
        {"user_id": "you", "first_name": "You", "tier": "vip", "email": "you@player.example", "phone": "+12025550100"},
    ]
    database.customers.bulk_write(
        [
            UpdateOne(
                {"_id": f"demo:{person['user_id']}"},
                {
                    "$set": {
                        "site": "demo",
                        "user": person["user_id"],
                        "attributes": {name: value for name, value in person.items() if name != "user_id"},
                    }
                },
                upsert=True,
            )
            for person in people
        ]
    )


def _tell(stack: Stack, database: Database[Document], token: str, secret_key: str, console: Console) -> bool:
    table = Table(title="The demo story, through the public endpoint", title_justify="left")
    for column in ("", "what happens", "sent", "expected", "came"):
        table.add_column(column)
    table.add_column("round trip", justify="right")
    results = list(
        chapters.play(
            Endpoint(stack.http_url, PUBLIC_KEY),
            Endpoint(stack.http_url, secret_key),
            StackWitness(stack, database),
            token,
        )
    )
    for result in results:
        table.add_row(
            "[green]✓[/green]" if result.passed else "[red]✗[/red]",
            result.title,
            result.sent,
            result.expected,
            result.came,
            f"{result.round_trip_ms:.1f} ms",
        )
    console.print(table)
    failed = sum(not result.passed for result in results)
    console.print(
        f"[red]{failed} of {len(results)} differ[/red]" if failed else f"[green]all {len(results)} as expected[/green]"
    )
    return failed == 0
