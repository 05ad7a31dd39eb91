"""Compare live matches with those of `opportune replay` and of the oracle, on real events.

Send a file of shop events to the public endpoint as history. Then compare the matches in the ledger with
those of the replay and of the brute-force oracle, by user and by millisecond.

    python -m tests.verify_live PATH/rees46_2019-10-01_first_170min.csv.gz
"""

import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from ruamel.yaml import YAML

from opportune.authoring import publishing
from opportune.events import streams
from opportune.local.stack import Stack
from shared import mongodb
from tests.support import oracle
from tests.support.paths import ROOT

DEFINITIONS = ROOT / "campaigns" / "shop"
MAP = "user_id=user_id,event=event_type,timestamp=ts_ms"
KEY_VARIABLE = "OPPORTUNE_SHOP_SECRET_KEY"

Match = tuple[str, str, int]  # user, campaign, ms


def main(arguments: list[str]) -> int:
    """Compare; return 0 if all three agree, or if there is no file of events."""
    console = Console()
    if not arguments or not Path(arguments[0]).is_file():
        console.print("verify-live: skipped. Name a file of events: make verify-live DATA=events.csv.gz")
        return 0
    path = Path(arguments[0])
    by_live, sent = live_matches(path, console)
    counted = {"ledger (live)": by_live, "opportune replay": replay_matches(path), "oracle": oracle_matches(path)}
    campaigns = sorted({campaign for matches in counted.values() for _, campaign, _ in matches})
    table = Table(title=f"Matches of {sent['events']} events", title_justify="left")
    table.add_column("")
    for column in (*campaigns, "all", "users"):
        table.add_column(column, justify="right")
    for name, matches in counted.items():
        each = [sum(n for (_, c, _), n in matches.items() if c == campaign) for campaign in campaigns]
        users = len({user for user, _, _ in matches})
        table.add_row(name, *(str(n) for n in each), str(sum(each)), str(users))
    console.print(table)
    reference = counted["oracle"]
    equal = True
    for name, matches in counted.items():
        for missing in sorted((reference - matches).elements())[:5]:
            console.print(f"[red]{name}: missing[/red] {missing}", highlight=False)
        for extra in sorted((matches - reference).elements())[:5]:
            console.print(f"[red]{name}: unexpected[/red] {extra}", highlight=False)
        equal = equal and matches == reference
    equal = equal and bool(reference)
    console.print("[green]all three agree[/green]" if equal else "[red]they differ[/red]")
    return 0 if equal else 1


def live_matches(path: Path, console: Console) -> tuple[Counter[Match], dict[str, Any]]:
    """Send the file through a running system; return the matches in its ledger and the sender's summary."""
    key = secrets.token_urlsafe(24)
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(
            state_dir=Path(folder),
            keys={KEY_VARIABLE: key},
            progress=lambda label, state: console.print(f"  [dim]{label}[/dim] {state}", highlight=False),
        ) as stack,
    ):
        database = mongodb.database(stack.mongodb_url, "opportune")
        publishing.publish_folder(database, DEFINITIONS, {KEY_VARIABLE: key})
        started = time.perf_counter()
        done = opportune(
            "events",
            "send",
            str(path),
            "--map",
            MAP,
            "--history",
            "--key",
            key,
            "--url",
            stack.http_url,
            "--json",
        )
        sent: dict[str, Any] = json.loads(done)
        stack.drain(timeout_s=600)
        console.print(
            f"  sent {sent['events']} events in {sent['seconds']:.1f} s (p50 {sent['p50_ms']} ms per batch of 100), "
            f"ledger complete after {time.perf_counter() - started:.1f} s",
            highlight=False,
        )
        rows = database.activations.find({"state": "suppressed", "reason": "history"})
        matches = Counter((row["user"], row["campaign"], round(row["at"].timestamp() * 1000)) for row in rows)
        return matches, sent


def replay_matches(path: Path) -> Counter[Match]:
    """Return the matches of `opportune replay`."""
    lines = opportune("replay", "--campaign", str(DEFINITIONS), "--events", str(path), "--map", MAP, "--json")
    fires = [json.loads(line) for line in lines.splitlines()]
    return Counter((fire["user"], fire["campaign"], fire["at"]) for fire in fires)


def oracle_matches(path: Path) -> Counter[Match]:
    """Return the matches that the oracle finds for each user, from the campaign files."""
    sources = [YAML(typ="safe").load(file) for file in sorted((DEFINITIONS / "campaigns").glob("*.yaml"))]
    users: dict[str, list[oracle.Seen]] = {}
    for event in streams.read_events(path, streams.parse_map(MAP)):
        seen = oracle.Seen(event.event, event.attributes, event.at, event.at, event.message_id)
        users.setdefault(event.user, []).append(seen)
    return Counter(
        (user, source["id"], fire.at)
        for source in sources
        for user, events in users.items()
        for fire in oracle.fires(source["trigger"], events)
    )


def opportune(*arguments: str) -> str:
    """Run the command line; return its output, or exit with its error."""
    done = subprocess.run(
        [sys.executable, "-m", "opportune", *arguments], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"verify-live: `opportune {' '.join(arguments[:2])}` failed with exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
