"""Documents that can be played: their files are written, their commands typed, and their outputs compared.

```yaml shop/site.yaml      a file: the second word is its path
```console                  `$ command`, and what it prints; `…` stands for anything in a line, a line `…` for lines;
                                what is exported stays so, each command has a shell of its own all the same
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class File(NamedTuple):
    """A file that the document shows whole."""

    path: str
    text: str


class Typed(NamedTuple):
    """A command, what it prints, and the line where it stands."""

    line: int
    command: str
    output: str


def steps(document: str) -> Iterator[File | Typed]:
    """Yield files and commands in the order in which a reader meets them."""
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
    """Do what *document* says in *folder*; return how many commands that were, and fail at the first surprise."""
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
            f"{document.name}:{step.line}: $ {step.command}\n--- said\n{step.output}--- printed\n{printed}"
        )
        done += 1
    return done


def _run(command: str, folder: Path, env: Mapping[str, str]) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
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
