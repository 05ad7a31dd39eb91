"""The command line against a running system, as users type it."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.definitions import load_definitions
from tests.support.paths import ROOT
from tests.support.whole_system import KEYS, System
from tests.system.test_demo import opportune

WINS = [
    {"userId": "anna", "event": "game_result", "timestamp": f"2026-01-01T00:0{n}:00Z", "properties": {"outcome": o}}
    for n, o in enumerate(["win", "win", "loss", "win", "win", "win"])
]


@pytest.fixture(name="events")
def _events(tmp_path: Path) -> Path:
    path = tmp_path / "wins.ndjson"
    path.write_text("\n".join(json.dumps({"type": "track", **win}) for win in WINS) + "\n")
    return path


def test_check_accepts_the_examples() -> None:
    """Both example folders have no problems."""
    for name in ("demo", "shop"):
        done = opportune("check", str(ROOT / "campaigns" / name), cwd=ROOT)
        assert (done.returncode, done.stderr) == (0, "")


def test_check_names_file_line_and_field(tmp_path: Path) -> None:
    """Each problem is one line, and the exit code is 1. Programs get the same as JSON."""
    path = tmp_path / "bad.yaml"
    path.write_text(
        "id: bad\nname: Bad\ntargets: everyone\ntrigger:\n  sequence:\n"
        "    - event: win\n      where: {amount: {greater: 5}}\n      timez: 3\n  within: 10\n"
        "channel: popup\ncontent: {layout: modal, title: Hi, body: there}\n"
    )
    done = opportune("check", str(path), cwd=tmp_path)
    assert done.returncode == 1
    for part in ("bad.yaml:7", "greater", "bad.yaml:8", "times", "bad.yaml:9", "within"):
        assert part in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    problems = json.loads(opportune("check", str(path), "--json", cwd=tmp_path).stdout)
    assert {problem["line"] for problem in problems} == {7, 8, 9}


def test_replay_prints_one_line_a_match(events: Path, tmp_path: Path) -> None:
    """The third win in a row after the loss matches, with the ids of its events."""
    campaign = ROOT / "campaigns" / "demo" / "campaigns" / "three-wins.yaml"
    done = opportune("replay", "--campaign", str(campaign), "--events", str(events), "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "user": "anna",
            "campaign": "three-wins",
            "per": None,
            "at": 1767225900000,
            "message_ids": [f"wins.ndjson:{n}@{1767225600000 + (n - 1) * 60_000}" for n in (4, 5, 6)],
            "reason": "match",
        }
    ]
    table = opportune("replay", "--campaign", str(campaign), "--events", str(events), cwd=tmp_path)
    assert "6 events" in table.stdout


def test_events_sent_as_history_match_as_replayed(events: Path, system: System) -> None:
    """Matches of history are in the ledger as suppressed, and only once if the events are sent twice."""
    for _ in range(2):
        key = KEYS["OPPORTUNE_DEMO_SECRET_KEY"]
        done = opportune("events", "send", str(events), "--history", "--key", key, "--json", cwd=system.folder)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["events"] == 6
    rows = list(system.database.activations.find({"user": "anna", "reason": "history"}))
    assert [(row["state"], round(row["at"].timestamp() * 1000)) for row in rows] == [("suppressed", 1767225900000)]


def test_publish_import_and_refresh(system: System, tmp_path: Path) -> None:
    """A second publish changes nothing. A bad row is reported, and the other rows are imported."""
    folder = str(ROOT / "campaigns" / "shop")
    environment = {**os.environ, **KEYS}
    first = opportune("publish", folder, "--json", cwd=system.folder, env=environment)
    again = opportune("publish", folder, "--json", cwd=system.folder, env=environment)
    assert (json.loads(first.stdout)["changed"], json.loads(again.stdout)["changed"]) == (True, False)
    path = tmp_path / "customers.csv"
    path.write_text("user_id,first_name,visits\nu1,Ulla,3\n,Nobody,1\nu2,Uwe,4,too many\nu3,Ute,5\n")
    done = opportune("customers", "import", str(path), "--site", "shop", cwd=system.folder)
    assert done.returncode == 1
    assert "customers.csv:3" in done.stderr
    assert "customers.csv:4" in done.stderr
    assert "2 imported, 2 rejected" in done.stdout
    assert system.database.customers.count_documents({"site": "shop"}) == 2
    refreshed = opportune("targets", "refresh", "--site", "shop", "--json", cwd=system.folder)
    before = json.loads(first.stdout)["targets"]["generation"]
    assert json.loads(refreshed.stdout)["shop"]["generation"] > before > 0


def test_init_check_diff_and_publish(system: System, tmp_path: Path) -> None:
    """From nothing to a live site. A diff shows the changes to people and to programs, and writes nothing."""
    folder = tmp_path / "new-shop"
    made = opportune("init", str(folder), cwd=system.folder)
    assert (made.returncode, "site.yaml" in made.stdout, "opportune check" in made.stdout) == (0, True, True)
    again = opportune("init", "--gaming", str(folder), cwd=system.folder)
    assert (again.returncode, "folder_exists" in again.stderr) == (2, True)
    assert opportune("check", str(folder), cwd=system.folder).stdout.startswith("ok 2 campaign(s)")
    first = opportune("diff", str(folder), cwd=system.folder).stdout
    assert "nothing is live yet" in first
    assert "campaign abandoned-cart" in first
    assert system.database.control.find_one({"_id": "new-shop"}) is None
    done = opportune("publish", str(folder), cwd=system.folder)
    assert "2 campaigns added, 3 events added, 1 group added, 1 site added" in done.stdout, done.stderr
    same = opportune("diff", str(folder), "--exit-code", cwd=system.folder)
    assert (same.returncode, same.stdout) == (0, "nothing would change: new-shop version 1 is live and the same\n")
    view = {"type": "track", "userId": "anna", "event": "Product Viewed", "properties": {"category": "shoes"}}
    views = tmp_path / "views.ndjson"
    views.write_text(json.dumps({**view, "timestamp": datetime.now(UTC).isoformat()}) + "\n")
    sent, deadline = None, time.monotonic() + 30
    while sent is None or (
        sent.returncode and time.monotonic() < deadline
    ):  # the functions do not know the key at first
        sent = opportune(
            "events", "send", str(views), "--key", load_definitions(folder).site.keys[0].key or "", cwd=system.folder
        )
    assert sent.returncode == 0, sent.stderr
    file = folder / "campaigns" / "third-look.yaml"
    file.write_text(file.read_text().replace("within: 10m", "within: 15m"))
    other = opportune("diff", str(folder), "--exit-code", cwd=system.folder)
    assert other.returncode == 1
    assert "trigger.within: 10m → 15m" in other.stdout
    assert "progress of 1 user is dropped" in other.stdout
    difference = json.loads(opportune("diff", str(folder), "--json", cwd=system.folder).stdout)
    (change,) = difference["changes"]
    assert change["fields"] == [{"field": "trigger.within", "was": "10m", "now": "15m"}]
    assert (difference["live"], change["kind"], change["id"], difference["progress"]) == (
        1,
        "campaign",
        "third-look",
        {"third-look": 1},
    )
    changed = opportune("publish", str(folder), cwd=system.folder)
    assert "1 campaign changed" in changed.stdout
    assert "third-look: progress of 1 user is dropped" in changed.stdout
    folder.joinpath("events", "product-viewed.yaml").write_text("name: Product Seen\n")
    broken = opportune("publish", str(folder), cwd=system.folder)
    assert (broken.returncode, "third-look.yaml:8:7" in broken.stderr) == (2, True)
    assert "Traceback" not in broken.stderr


def test_versions_and_rollback(system: System, tmp_path: Path) -> None:
    """After two publishes and a rollback, the old version is live and all are listed. An unknown one is an error."""
    environment, folder = {**os.environ, **KEYS}, tmp_path / "returning"
    (folder / "campaigns").mkdir(parents=True)
    (folder / "site.yaml").write_text("id: returning\nname: R\nkeys: [{kind: public, key: wk_returning}]\n")
    source = (ROOT / "campaigns" / "shop" / "campaigns" / "three-views.yaml").read_text()
    for title in ("Still looking?", "Need help?"):
        (folder / "campaigns" / "c.yaml").write_text(source.replace("Still looking?", title))
        done = opportune("publish", str(folder), cwd=system.folder, env=environment)
        assert done.returncode == 0, done.stderr
    assert "live returning version 2: 1 campaign(s)" in done.stdout
    back = opportune("rollback", "returning", cwd=system.folder)
    assert back.stdout.startswith("live returning version 3, which restores version 1: 1 campaign(s)")
    assert "unchanged" in opportune("rollback", "returning", "1", cwd=system.folder).stdout
    listed = json.loads(opportune("versions", "returning", "--json", cwd=system.folder).stdout)
    assert [(each["version"], each["of"], each["live"]) for each in listed] == [
        (3, 1, True), (2, 0, False), (1, 0, False),
    ]  # fmt: skip
    table = opportune("versions", "returning", cwd=system.folder).stdout
    assert "restores version 1" in table
    never = opportune("rollback", "returning", "9", cwd=system.folder)
    assert (never.returncode, "unknown_version" in never.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["publish", "nowhere"], 2, "nowhere"),
        (["publish", str(ROOT / "campaigns/demo/site.yaml")], 2, "folder"),
        (["run", "--port", "99999"], 2, "--port"),
        (["targets", "refresh", "--site", "nobody"], 2, "nobody"),
        (["events", "send", "nowhere.csv", "--key", "k"], 2, "nowhere.csv"),
        (["replay", "--campaign", "nowhere.yaml", "--events", "x.ndjson"], 2, "nowhere.yaml"),
        (["customers", "import", "nowhere.csv", "--site", "demo"], 2, "nowhere.csv"),
        (["events", "send", "wins.ndjson", "--key", "unknown key"], 2, "invalid_write_key"),
        (["events", "send", "broken.ndjson", "--key", "wk_demo_public"], 2, "broken.ndjson:2"),
        (["events", "send", "rows.csv", "--key", "wk_demo_public", "--map", "user=u"], 2, "--map"),
        (["events", "send", "rows.csv", "--key", "wk_demo_public", "--map", "user_id=u"], 2, "rows.csv:1"),
        (["events", "send", "bad.csv", "--key", "wk_demo_public"], 2, "bad.csv:3"),
        (["events", "send", "wins.ndjson", "--history", "--key", "wk_demo_public"], 1, "history_needs_secret_key"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_clear_line(arguments: list[str], code: int, says: str, events: Path, system: System) -> None:
    """Every mistake is reported with an exit code other than 0 and without a traceback."""
    (system.folder / "wins.ndjson").write_text(events.read_text())
    (system.folder / "broken.ndjson").write_text(events.read_text().splitlines()[0] + "\n{cut\n")
    (system.folder / "rows.csv").write_text("user_id,event,timestamp\na,b,2026-01-01\n")
    (system.folder / "bad.csv").write_text("user_id,event,timestamp\na,b,2026-01-01\na,b,someday\n")
    done = opportune(*arguments, cwd=system.folder)
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_without_a_system_the_commands_say_so(tmp_path: Path) -> None:
    """Without a running system or an address, one line says what to do."""
    done = opportune("targets", "refresh", cwd=tmp_path)
    assert done.returncode == 2
    assert "opportune run" in done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "check",
        "publish",
        "customers import",
        "targets refresh",
        "events send",
        "replay",
        "schema",
        "bench",
        "versions",
        "rollback",
        "init",
        "diff",
    ],
)
def test_every_command_has_help_with_an_example(command: str, tmp_path: Path) -> None:
    """`--help` explains the command and has an example."""
    done = opportune(*command.split(), "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"Example: opportune {command.split(maxsplit=1)[0]}" in " ".join(done.stdout.split())
