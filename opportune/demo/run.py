"""Run the whole system on this machine, play the demo scenario, then serve the demo site until Ctrl-C."""

import secrets
import signal
import threading
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from opportune.authoring import publishing
from opportune.demo.scenario.customers import import_customers
from opportune.demo.scenario.model import Result
from opportune.demo.scenario.play import play
from opportune.demo.stack_observer import StackObserver
from opportune.events.send import Endpoint
from opportune.local.stack import Stack
from opportune.system.checkout import ROOT
from opportune.system.connection import STATE_DIR
from shared import mongodb

DEFINITIONS = ROOT / "campaigns" / "demo"
DEMO_SITE = ROOT / "web" / "demo"
PUBLIC_KEY = "wk_demo_public"
SECRET_KEY_VARIABLE = "OPPORTUNE_DEMO_SECRET_KEY"


def run(*, once: bool, port: int | None, speed: float = 1.0, console: Console) -> int:
    """Start the system, play the scenario and serve; return the exit code.

    once: stop after the scenario; the exit code is 1 if an outcome is not as expected
    port: of the public endpoint; None for any free one
    speed: how many times as fast as the wall clock the system's clock runs
    """
    secret_key = secrets.token_urlsafe(24)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    # A shell starts background jobs with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Stack(
        state_dir=STATE_DIR,
        port=port,
        demo_dir=DEMO_SITE,
        keys={SECRET_KEY_VARIABLE: secret_key},
        ses_identities=("casino.example",),
        speed=speed,
        progress=lambda label, state: console.print(Text.assemble("  ", (label, "dim"), f" {state}")),
    ) as stack:
        database = mongodb.database(stack.mongodb_url, "opportune")
        run_id = secrets.token_hex(2)
        import_customers(database, run_id)
        published = publishing.publish_folder(database, DEFINITIONS, {SECRET_KEY_VARIABLE: secret_key})
        publishing.refresh_targets(database, published.site)
        live = f" {published.campaigns} live, ruleset {published.version}"
        console.print(Text.assemble("  ", ("campaigns", "dim"), live))
        browser, server = Endpoint(stack.http_url, PUBLIC_KEY), Endpoint(stack.http_url, secret_key)
        results = list(play(browser, server, StackObserver(stack, database), run_id))
        _print_results(results, console)
        if once:
            return 0 if all(result.passed for result in results) else 1
        _print_addresses(stack.http_url, console)
        try:
            while not stopping.wait(0.5):
                pass
        except KeyboardInterrupt:
            console.print("\nstopping")
        return 0


def _print_results(results: Sequence[Result], console: Console) -> None:
    table = Table(title="The demo, played through the public endpoint", title_justify="left")
    for column in ("", "case", "events sent", "expected", "result"):
        table.add_column(column)
    table.add_column("round trip", justify="right")
    for result in results:
        table.add_row(
            Text("✓", style="green") if result.passed else Text("✗", style="red"),
            result.title,
            result.sent,
            result.expected,
            result.actual,
            f"{result.round_trip_ms:.1f} ms",
        )
    console.print(table)
    failed = sum(not result.passed for result in results)
    console.print(
        Text(f"{failed} of {len(results)} are not as expected", style="red")
        if failed
        else Text(f"all {len(results)} as expected", style="green")
    )


def _print_addresses(url: str, console: Console) -> None:
    console.print(Text.assemble("\n  demo site   ", (f"{url}/demo/", "bold")))
    console.print(f"  endpoint    {url}/v1/track   (write key {PUBLIC_KEY})")
    console.print(f"  outbox      {url}/outbox   (every message that the system sent)")
    console.print("  Press Ctrl-C to stop everything.")
