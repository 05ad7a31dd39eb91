"""Values of customers, events, campaigns and files are text in the terminal.

The class of fault: a value is markup to the library that prints, or a command to the terminal. It vanishes, changes
colours, links elsewhere, forges a line, or ends the command with an error. `Screen` is the one place that prevents it.
"""

import ast
import json
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from opportune.cli import output
from opportune.cli.output import Screen
from opportune.operations.deliveries import Delivery, DeliveryList, print_deliveries
from tests.support.paths import ROOT

MARKUP = ["[red]x", "[/]", "[/red]", "[link=https://evil.example]x[/link]", "[bold", "]", "\\[red]",
          "[@click=quit]x[/]", ":cat:", "[[1]]", "[#ff0000 on blue blink]x", "[not bold]"]  # fmt: skip
OBEYED = {
    "\x1b[31mred": "␛[31mred", "\x1b]8;;https://evil.example\x1b\\\\x": "␛]8;;", "\x1b]0;title\x07": "␛]0;title",
    "\x1b[2Jgone": "␛[2Jgone", "\x9b31mred": "\ufffd31mred", "a\x7fb": "a␡b", "a\u202eb": "a\ufffdb",
    "a\u2066b\u2069": "a\ufffdb\ufffd", "a\u2028b": "a\ufffdb", "a\u200fb": "a\ufffdb", "a\x85b": "a\ufffdb",
    "a\x00b": "a␀b",
}  # fmt: skip
BAD = {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F),
                              *range(0x2066, 0x206A))} - {"\n", "\t"}  # fmt: skip


def shown(*renderables: Any, terminal: bool = False) -> str:
    """Return what a screen prints, without styles of its own."""
    written = StringIO()
    screen = Screen(file=written, width=200, force_terminal=terminal, color_system=None)
    for renderable in renderables:
        screen.print(renderable)
    return written.getvalue()


def table(value: str) -> Table:
    """Return a table with *value* in all places."""
    made = Table(value, title=value, caption=value)
    made.add_row(value)
    made.add_row(Text(value, style="red"))
    return made


WAYS = [str, Text, table, Panel, Rule, lambda value: Text.assemble((value, "bold"), " rest")]


@pytest.mark.parametrize("value", MARKUP)
@pytest.mark.parametrize("way", WAYS)
def test_markup_is_text(value: str, way: Any) -> None:
    """The value is there as it is."""
    assert value in shown(way(value))


@pytest.mark.parametrize(("value", "visible"), OBEYED.items())
@pytest.mark.parametrize("way", WAYS)
def test_a_terminal_obeys_no_value(value: str, visible: str, way: Any) -> None:
    """What a terminal would obey is visible instead, and tables stay aligned."""
    printed = shown(way(value), terminal=True)
    assert not BAD & set(printed)
    assert visible in printed
    if way is table:
        assert len({len(line) for line in printed.splitlines() if line[:1] in "┃│"}) == 1


@pytest.mark.parametrize("length", [1000, 100_000])
def test_long_text_is_whole(length: int) -> None:
    """A long value wraps in its cell."""
    assert shown(table("x" * length)).count("x") >= 2 * length


def test_line_feeds_of_messages_stay() -> None:
    """They are the program's own."""
    assert shown("a\n\tb") == "a\n        b\n"


def test_a_table_of_deliveries_is_safe() -> None:
    """The user id, the reason and the campaign come from outside."""
    value = "\x1b[31m[red]x\u202e"
    row = Delivery("1", "demo", value, value, "email", "failed_final", 0, 0, reason=value)
    written = StringIO()
    print_deliveries(DeliveryList("demo", 0, {value: 1}, {}, None, {}, [row]), 0, Screen(file=written, width=200))
    assert not BAD & set(written.getvalue())
    assert written.getvalue().count("␛[31m[red]x\ufffd") >= 2


def test_a_replay_prints_a_hostile_file_as_text(tmp_path: Path) -> None:
    """Ids, names and the file's own name are in summaries, explanations, bars and errors."""
    user, event = "[red]\x1b[31ma", "[/]game\x1b]8;;x"
    name = "[bold]e.ndjson"
    times = [1_790_000_000_000 + n for n in range(2)]
    lines = [{"userId": f"anon{user}"[4:], "event": event, "timestamp": at} for at in times]
    (tmp_path / name).write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "c.yaml").write_text(
        json.dumps({
            "id": "c", "name": "[red]C\x1b[2J", "targets": "everyone", "channel": "popup",
            "trigger": {"sequence": [{"event": event, "times": 2}], "within": "1h"},
            "content": {"title": "t", "body": "b"},
        })
    )  # fmt: skip
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "160"}
    command = [sys.executable, "-m", "opportune", "replay", "--campaign", "c.yaml", "--events", name]
    for more in ([], ["--explain", user], ["--explain", "[/]\x1b"]):
        done = subprocess.run([*command, *more], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        printed = done.stdout + done.stderr
        assert not BAD & set(printed), printed
        assert "Traceback" not in printed
        assert name in printed or user.replace("\x1b", "␛") in printed


def test_nothing_else_prints_to_the_terminal() -> None:
    """Each console is a `Screen`, and none is told to read markup."""
    for path in (ROOT / "opportune").rglob("*.py"):
        if "dev" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert called not in ("Console", "from_markup"), f"{path}:{node.lineno}"
            for word in node.keywords:
                is_markup = word.arg == "markup" and not (isinstance(word.value, ast.Constant) and not word.value.value)
                assert not is_markup, f"{path}:{node.lineno}"
            if called == "TextColumn":
                assert any(word.arg == "markup" for word in node.keywords), f"{path}:{node.lineno}"
    assert isinstance(output.out, Screen)
    assert isinstance(output.err, Screen)
