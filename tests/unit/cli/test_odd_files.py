"""Commands that read files: what is named is not a file, or cannot be read.

The class: a path that opens but blocks or never ends (named pipe, socket, device), that cannot be opened (folder, no
permission, loop of links, broken link, name too long), or that is far too large. Every command that reads a file says
so at once, in one line with the path, and ends with exit code 1 or 2.
"""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from definitions.loading import yaml_source
from opportune.audiences.customers.lines import open_lines
from opportune.cli.main import app
from opportune.events import streams
from shared.errors import InvalidRequest
from shared.files import open_regular

SITE = "id: shop\nname: The shop\nkeys: [{kind: public, key: wk_shop_public}]\n"


def _make_fifo(path: Path) -> None:
    os.mkfifo(path)


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket must be short
        try:
            server.bind(path.name)
        finally:
            os.chdir(here)


def _make_loop(path: Path) -> None:
    other = path.with_name("other-link")
    path.symlink_to(other)
    other.symlink_to(path)


ODD: dict[str, Callable[[Path], None]] = {
    "fifo": _make_fifo,
    "socket": _make_socket,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "random": lambda path: path.symlink_to("/dev/urandom"),
    "folder": lambda path: path.mkdir(),
    "loop": _make_loop,
    "broken": lambda path: path.symlink_to("nowhere"),
}


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    """End a test that hangs."""
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "site.yaml").write_text(SITE)
    for name in ("campaigns", "groups", "events"):
        (folder / name).mkdir()
    return folder


def run(*arguments: object) -> tuple[int, str]:
    """Return exit code and output, without the line breaks of the terminal's width."""
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output.replace("\n", "")


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("place", ["site.yaml", "campaigns/a.yaml", "groups/a.yaml", "events/a.yaml"])
def test_check_names_an_odd_file_in_a_folder(folder: Path, kind: str, place: str) -> None:
    """The file is named, and the other files are checked all the same."""
    path = folder / place
    path.unlink(missing_ok=True)
    ODD[kind](path)
    code, said = run("check", folder)
    assert code == 1
    assert place in said


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("command", [["check"], ["diff"], ["tags"]])
def test_commands_about_definitions_name_an_odd_path(tmp_path: Path, kind: str, command: list[str]) -> None:
    """The path itself may be odd, too. A folder is empty, which is an error as well."""
    path = tmp_path / "odd.yaml"
    ODD[kind](path)
    code, said = run(*command, path)
    assert code in (1, 2)
    assert "odd.yaml" in said or "site.yaml" in said or "MongoDB" in said or "running" in said


@pytest.mark.parametrize("kind", ODD)
def test_the_list_of_a_group_may_be_odd(folder: Path, kind: str) -> None:
    """A group names its list in a second file."""
    (folder / "groups" / "vip.yaml").write_text("id: vip\nname: VIP\nlist: vip.txt\n")
    ODD[kind](folder / "groups" / "vip.txt")
    code, said = run("check", folder)
    assert (code, "vip.txt" in said) == (1, True)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("suffix", [".ndjson", ".csv", ".ndjson.gz", ".csv.gz"])
def test_readers_of_data_refuse_an_odd_file(tmp_path: Path, kind: str, suffix: str) -> None:
    """Recorded events and customers are read by two readers."""
    path = tmp_path / f"odd{suffix}"
    ODD[kind](path)
    with pytest.raises(streams.InvalidStream, match=r"odd.* cannot be read"):
        list(streams.read_events(path))
    with pytest.raises(InvalidRequest, match="odd"), open_lines(path) as lines:
        list(lines)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("fifo", "a named pipe"), ("zero", "a device"), ("folder", "a folder"), ("loop", "symbolic links")],
)
def test_the_error_says_what_is_there(tmp_path: Path, kind: str, words: str) -> None:
    """An operator sees the mistake at once."""
    path = tmp_path / "odd"
    ODD[kind](path)
    with pytest.raises(OSError, match=words):
        open_regular(path)


def test_a_pipe_with_a_writer_is_refused_too(tmp_path: Path) -> None:
    """Commands read some files twice, and a pipe cannot be."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="a named pipe"):
            open_regular(path)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("name", ["x" * 300 + ".yaml", "x" * 5000])
@pytest.mark.parametrize(
    "command", [["check"], ["customers", "import"], ["replay", "--events"], ["groups", "upload", "--site", "a", "vip"]]
)
def test_a_name_that_is_too_long_is_an_error_in_words(tmp_path: Path, command: list[str], name: str) -> None:
    """The system refuses it before a file could be missing."""
    code, _ = run(*command, tmp_path / name)
    assert code in (1, 2)


def test_a_file_of_definitions_has_a_limit(folder: Path) -> None:
    """A sparse file of a terabyte is not read."""
    path = folder / "campaigns" / "a.yaml"
    with path.open("wb") as file:
        file.truncate(10**12)
    code, said = run("check", folder)
    assert (code, f"larger than {yaml_source.MAX_BYTES}" in said) == (1, True)
