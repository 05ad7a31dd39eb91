"""Play a document: write its files, run its commands and compare their output.

```yaml shop/site.yaml      a file; the second word is its path
```console                  `$ command` and its output. In a line, `…` stands for any text; a line `…` stands
                            for any lines. Each command has its own shell; exported variables are kept.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tests.support.command_line import program

_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class File(NamedTuple):
    """A file that the document shows completely."""

    path: str
    text: str


class Typed(NamedTuple):
    """A command, its output, and its line in the document."""

    line: int
    command: str
    output: str


def steps(document: str) -> Iterator[File | Typed]:
    """Yield the files and commands of *document* in order."""
    for block in _BLOCK.finditer(document):
        language, path, text = block.groups()
        if path:
            yield File(path, text)
        elif language == "console":
            line = document.count("\n", 0, block.start(3)) + 1
            for part in re.split(r"^(?=\$ )", text, flags=re.MULTILINE):
                command, _, output = part.removeprefix("$ ").partition("\n")
                if command:
                    yield Typed(line, command, output)
                line += part.count("\n")


def play(document: Path, folder: Path, env: Mapping[str, str]) -> int:
    """Play *document* in *folder*; return the number of commands. Fail at the first output that differs."""
    done, exported = 0, ""
    for step in steps(document.read_text(encoding="utf-8")):
        if isinstance(step, File):
            path = folder / step.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text, encoding="utf-8")
            continue
        printed = _run(exported + step.command, folder, env)
        if step.command.startswith("export "):
            exported += f"{step.command}\n"
        assert _expected(step.output).fullmatch(printed), (
            f"{document.name}:{step.line}: $ {step.command}\n--- expected\n{step.output}--- printed\n{printed}"
        )
        done += 1
    return done


def _run(command: str, folder: Path, env: Mapping[str, str]) -> str:
    path = os.pathsep.join([str(Path(program()).parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    whole = {**os.environ, "COLUMNS": "80", **env, "PATH": path}
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=whole, capture_output=True, text=True, check=False, timeout=100
    )
    return _tidy(done.stdout + done.stderr)


def _expected(output: str) -> re.Pattern[str]:
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else r"[^\n]*?".join(map(re.escape, line.split("…"))) + r"\n"
        for line in _tidy(output).splitlines()
    )
    return re.compile(pattern)


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines()]
    return "".join(f"{line}\n" for line in lines if line)
