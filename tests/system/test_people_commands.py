"""The commands why, deliveries, pause, resume and forget against a running system."""

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from opportune.authoring import publishing
from opportune.local import aws
from opportune.system.functions import Queues
from shared.signing import webhook_key
from tests.integration.operations.test_forget import bodies, documents_with, traces
from tests.support.whole_system import System
from tests.system.test_demo import opportune

USERS = 10
FUNCTIONS = ("gateway", "decider", "engager", "refresher", "preferences")


@pytest.fixture(name="users", scope="module")
def _users(system: System) -> Iterator[str]:
    names = [f"canary-{uuid.uuid4().hex[:12]}" for _ in range(USERS)]
    system.database.customers.insert_many(
        {
            "_id": f"demo:{user}",
            "site": "demo",
            "user": user,
            "attributes": {"tier": "vip", "first_name": f"name-{user}", "email": f"{user}@casino.example"},
        }
        for user in names
    )
    publishing.refresh_targets(system.database, "demo")
    time.sleep(3.2)  # longer than three polls, so the Decider reads the targets again
    return iter(names)


@pytest.fixture(name="user")
def _user(users: Iterator[str]) -> str:
    """Return a new VIP whose id and attributes can be searched for."""
    return next(users)


def track(system: System, user: str, event: str, **properties: Any) -> None:
    """Send one event as a browser does."""
    body = {"userId": user, "event": event, "properties": properties, "messageId": f"{event} {uuid.uuid4()}"}
    system.browser.post("/v1/track", body)


def command(system: System, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command that finds the running system."""
    return opportune(*arguments, cwd=system.folder, env={**os.environ, **environment})


def why(system: System, user: str, campaign: str) -> dict[str, Any]:
    """Return what `opportune why --json` says about one campaign."""
    done = command(system, "why", user, campaign, "--site", "demo", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)["campaigns"]
    return dict(found)


def test_why_follows_a_user_from_the_first_win_to_the_popup(system: System, user: str) -> None:
    """The command shows nothing, then two of three, then the decision, with cap and target group."""
    found = why(system, user, "three-wins")
    assert (found["code"], found["target"], found["groups"]) == (
        "nothing",
        True,
        [{"id": "vip-players", "member": True}],
    )
    for _ in range(2):
        track(system, user, "game_result", outcome="win")
    found = why(system, user, "three-wins")
    assert (found["code"], found["stages"][0]["reached"], found["stages"][0]["of"]) == ("progress", 2, 3)
    assert found["stages"][0]["text"].startswith(
        "2 of 3 game_result (outcome = win); the first event leaves the window"
    )
    track(system, user, "game_result", outcome="win")
    found = why(system, user, "three-wins")
    assert found["stages"] == []
    assert [(each["state"], each["channel"]) for each in found["decisions"]] == [("sent", "popup")]
    (cap,) = [each for each in found["limits"] if each["name"] == "popup"]
    assert (cap["used"], cap["most"]) == (1, 2)


def test_why_shows_delayed_messages_and_pauses(system: System, user: str) -> None:
    """A reminder waits. After its campaign is paused, the pause blocks it."""
    track(system, user, "cart_filled", item="Hat")
    found = why(system, user, "cart-reminder")
    assert (found["code"], len(found["waiting"])) == ("waiting", 1)
    try:
        assert command(system, "pause", "demo", "--campaign", "cart-reminder").returncode == 0
        found = why(system, user, "cart-reminder")
        assert (found["code"], found["is_in_way"]) == ("paused", True)
    finally:
        command(system, "resume", "demo", "--campaign", "cart-reminder")
    track(system, user, "order_placed")
    assert why(system, user, "cart-reminder")["waiting"] == []


@pytest.mark.parametrize("columns", ["80", "120"])
def test_why_for_people(system: System, user: str, columns: str) -> None:
    """Each campaign has a verdict, and no line is wider than the terminal."""
    track(system, user, "game_result", outcome="win")
    done = command(system, "why", user, "--site", "demo", COLUMNS=columns)
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines()) <= int(columns)
    names = [
        each["campaign"]
        for each in json.loads(command(system, "why", user, "--site", "demo", "--json").stdout)["campaigns"]
    ]
    assert len(names) >= 2
    for name in names:
        assert name in done.stdout
    assert sum(line.startswith(("✗ ", "→ ")) for line in done.stdout.splitlines()) == len(names)
    assert "1 of 3 game_result (outcome = win)" in done.stdout


def test_deliveries_lists_what_was_sent(system: System, user: str) -> None:
    """The popup of the third win is listed by user and by state, as a table and as JSON."""
    for _ in range(3):
        track(system, user, "game_result", outcome="win")
    options = ("--site", "demo", "--user", user, "--since", "1h")
    listed = json.loads(command(system, "deliveries", *options, "--state", "sent", "--json").stdout)
    assert [(each["campaign"], each["state"]) for each in listed["deliveries"]] == [("three-wins", "sent")]
    assert listed["counts"] == {"sent": 1}
    shown = command(system, "deliveries", *options, COLUMNS="80")
    assert "three-wins" in shown.stdout
    assert max(len(line) for line in shown.stdout.splitlines()) <= 80


def test_pause_list_and_resume(system: System) -> None:
    """Each command says what changed and when it takes effect. Afterwards the list is empty."""
    paused = command(system, "pause", "demo", "--channel", "sms")
    try:
        assert "channel sms of demo is paused" in " ".join(paused.stdout.split())
        assert "OPPORTUNE_POLL_SECONDS" in paused.stdout
        assert "channel sms" in command(system, "pause", "demo", "--list").stdout
    finally:
        resumed = command(system, "resume", "demo", "--channel", "sms", "--json")
    assert json.loads(resumed.stdout) == {"site": "demo", "what": "channel:sms", "changed": True, "paused": []}
    assert "nothing of demo is paused" in command(system, "pause", "demo", "--list").stdout


def test_forget_leaves_no_trace_in_any_store_queue_or_log(system: System, user: str) -> None:
    """Progress, a popup, a waiting message and a dead letter are erased. A second run finds nothing."""
    for _ in range(4):
        track(system, user, "game_result", outcome="win")
    track(system, user, "cart_filled", item=f"hat of {user}")
    sqs = aws.client("sqs", system.stack.aws_url)
    dead = Queues(sqs, [system.stack.dead_letter_url, system.stack.dead_doorbells_url])
    sqs.send_message(QueueUrl=dead.urls[0], MessageBody=json.dumps({"site": "demo", "user": user, "v": 99}))
    with Redis.from_url(system.stack.redis_url) as redis:
        assert len(traces(redis, user)) >= 2
        assert "activations" in documents_with(system.database, user)
        done = command(system, "forget", user, "--site", "demo", "--yes", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        erased = json.loads(done.stdout)
        assert erased["done"]
        totals = erased["totals"]
        assert (totals["mongodb.customer"], totals["redis.row"], totals["queues.messages"]) == (1, 1, 1)
        assert totals["mongodb.ledger"] >= 1
        system.stack.drain()
        assert traces(redis, user) == []
    assert documents_with(system.database, user) == []
    assert not any(user in body for body in bodies(dead))
    again = command(system, "forget", user, "--site", "demo", "--yes", "--json")
    assert sum(json.loads(again.stdout)["totals"].values()) == 0
    assert (erased["found"], json.loads(again.stdout)["found"]) == (True, False)
    logs = [path for path in system.stack.logs_dir.iterdir() if path.name.startswith(FUNCTIONS)]
    assert len(logs) >= 3
    assert [path.name for path in logs if user in path.read_text(errors="replace")] == []


def test_forget_says_if_there_was_no_user(system: System) -> None:
    """For a wrong or already erased id, nothing suggests that a user was erased."""
    user = f"nobody-{uuid.uuid4().hex[:8]}"
    for note in ("Is the id right?", "The user was already erased."):
        done = command(system, "forget", user, "--site", "demo", "--yes", COLUMNS="200")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"nothing is stored about user '{user}' of demo. {done.stdout.split('demo. ')[1]}"
        assert note in done.stdout


@pytest.fixture(name="only_demo")
def _only_demo(system: System) -> Iterator[System]:
    """Return the system with only the demo site; other sites are removed during the test."""
    others = list(system.database.control.find({"_id": {"$ne": "demo"}}))
    system.database.control.delete_many({"_id": {"$in": [each["_id"] for each in others]}})
    yield system
    if others:
        system.database.control.insert_many(others)


def test_pause_asks_before_it_stops_everything(only_demo: System) -> None:
    """Without a site, a channel or a campaign it asks. A no changes nothing, and --yes skips the question."""
    done = opportune("pause", cwd=only_demo.folder, input="n\n")
    assert (done.returncode, "Pause all messages of demo" in done.stderr) == (1, True)
    assert "nothing of demo is paused" in command(only_demo, "pause", "--list").stdout
    try:
        assert "all of demo is paused" in command(only_demo, "pause", "--yes").stdout
    finally:
        assert command(only_demo, "resume").returncode == 0


def test_webhook_key_is_the_one_that_webhooks_are_signed_with(only_demo: System) -> None:
    """Standard output has only the key, for pipes, and the site must exist."""
    done = command(only_demo, "webhook-key", "demo")
    secret = json.loads((only_demo.folder / ".opportune" / "stack.json").read_text())["signing_secret"]
    assert done.stdout == webhook_key(secret, "demo") + "\n"
    another = "another secret of forty characters ...."
    printed = command(only_demo, "webhook-key", "--json", OPPORTUNE_SIGNING_SECRET=another)
    assert json.loads(printed.stdout)["key"] == webhook_key(another, "demo")


def test_forget_asks_first(system: System, user: str) -> None:
    """Without --yes, a no erases nothing."""
    done = opportune("forget", user, "--site", "demo", cwd=system.folder, input="n\n")
    assert done.returncode == 1
    assert system.database.customers.find_one({"_id": f"demo:{user}"}) is not None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["why", "anna", "nothing", "--site", "demo"], "unknown_campaign"),
        (["why", "anna", "--site", "nowhere"], "unknown_site"),
        (["deliveries", "--site", "demo", "--state", "snet"], "unknown_state"),
        (["deliveries", "--site", "demo", "--since", "yesterday"], "invalid_since"),
        (["deliveries", "--site", "demo", "--channel", "fax"], "unknown_channel"),
        (["webhook-key", "nowhere"], "unknown_site"),
        (["pause", "nowhere"], "unknown_site"),
        (["pause", "demo", "--channel", "fax"], "unknown_channel"),
        (["pause", "demo", "--campaign", "nothing"], "unknown_campaign"),
        (["resume", "demo", "--campaign", "nothing"], "unknown_campaign"),
        (["forget", "anna", "--site", "nowhere", "--yes"], "unknown_site"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_clear_line(arguments: list[str], says: str, system: System) -> None:
    """Each mistake has exit code 2, an error code and no traceback."""
    done = command(system, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["why", "deliveries", "pause", "resume", "forget", "webhook-key"])
def test_every_command_has_help_with_an_example(name: str, system: System) -> None:
    """`--help` explains the command and has an example."""
    done = command(system, name, "--help")
    assert done.returncode == 0
    assert f"Example: opportune {name}" in " ".join(done.stdout.split())
