"""What commands print to a pipe."""

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console

from opportune.operations.deliveries import Delivery, DeliveryList, print_deliveries


def opportune(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command in *folder*, with its output in a pipe."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("OPPORTUNE_")}
    command = [sys.executable, "-m", "opportune", *arguments]
    return subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True, check=False)


def test_an_error_is_one_line_in_a_pipe(tmp_path: Path) -> None:
    """A search in a log finds the whole message, which says where the command looked for a system."""
    done = opportune(tmp_path, "versions")
    assert done.returncode == 2
    assert done.stderr == (
        f"error not_connected: no system runs in {tmp_path}: start one with `opportune run`, "
        "change to the folder of a running one, or give --mongodb-url (or set OPPORTUNE_MONGODB_URL)\n"
    )


def test_what_to_do_next_can_be_pasted(tmp_path: Path) -> None:
    """The command is quoted if the folder's name has a space."""
    assert "`opportune check 'Mein Laden'`" in opportune(tmp_path, "init", "Mein Laden").stdout
    assert opportune(tmp_path, "check", "Mein Laden").returncode == 0


def test_a_bar_leaves_nothing_in_a_pipe() -> None:
    """A progress bar is for a terminal; even an empty line would be too much."""
    code = "from opportune.cli.output import bytes_bar, progress_bar\nwith progress_bar() as bar: bar.add_task('x')\n"
    code += "with bytes_bar('x') as progress: progress(1, 2)"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_no_reason_is_cut_off_on_a_narrow_screen() -> None:
    """Users copy the reason to --reason."""
    row = Delivery("1", "demo", "a-user", "a-campaign", "email", "failed_final", 0, 0, reason="no_customer_address")
    written = StringIO()
    console = Console(width=60, file=written)
    print_deliveries(DeliveryList("demo", 0, {"failed_final": 1}, {}, None, {}, [row]), 0, console)
    lines = written.getvalue().splitlines()
    cells = "".join(line.split("│")[5].strip() for line in lines if line.count("│") == 6)
    assert "failed_finalno_customer_address" in cells.replace(" ", "")
