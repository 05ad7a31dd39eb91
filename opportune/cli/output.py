"""How commands are registered, how they print, and how they report errors."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.text import Text

from shared.errors import InvalidRequest, OpportuneError
from shared.text import is_storable

F = TypeVar("F", bound=Callable[..., Any])

# Characters that a terminal obeys, or that change the order of others: control characters, marks of direction, and
# separators of lines. Each becomes one that is visible. Line feeds and tabs stay.
_OBEYED = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"}
_OBEYED |= {0x7F: 0x2421, **dict.fromkeys((*range(0x80, 0xA0), 0x61C, 0x200E, 0x200F), 0xFFFD)}
_OBEYED |= dict.fromkeys((*range(0x2028, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)


class Screen(Console):
    """A console that prints values of customers, events and files as the text that they are.

    Markup, such as ``[red]``, and names of emoji mean nothing in text: a style needs a `Text`. Characters that a
    terminal would obey, such as those of an ANSI escape, are shown instead.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return *text* to print: an argument, or a cell of a table."""
        return super().render_str(text.translate(_OBEYED), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments of *renderable*."""
        if isinstance(renderable, Text) and (shown := renderable.plain.translate(_OBEYED)) != renderable.plain:
            renderable = renderable.copy()
            renderable.plain = shown
        return super().render(renderable, options)


out = Screen()
err = Screen(stderr=True)


def marked(word: str, style: str, rest: str = "") -> Text:
    """Return *word* in a style, and the rest without one."""
    return Text.assemble((word, style), rest)


def command(group: typer.Typer, name: str) -> Callable[[F], F]:
    """Register a command in *group*; expected errors become one line and exit code 2."""

    def register(function: F) -> F:
        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            try:
                _check_text(kwargs)
                return function(*args, **kwargs)
            except OpportuneError as error:
                _print_error(error.code, error.message)
                raise typer.Exit(2) from None
            except OSError as error:
                if not isinstance(error.filename, str | Path):
                    raise
                _print_error("file", f"{error.filename}: {error.strerror}")
                raise typer.Exit(2) from None
            except KeyboardInterrupt:
                err.print("stopped")
                raise typer.Exit(130) from None

        group.command(name)(run)
        return function

    return register


def _print_error(code: str, message: str) -> None:
    err.print(Text.assemble(("error", "red"), " ", (code, "bold"), ": "), end="")
    # In a log or a pipe, keep the message on one line so that it can be searched.
    err.print(message, markup=False, highlight=False, soft_wrap=not err.is_terminal)


def _check_text(arguments: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` for an argument that is not UTF-8; Python reads its bytes as halves of surrogates."""
    for name, value in arguments.items():
        if isinstance(value, str) and not is_storable(value):
            raise InvalidRequest(f"{name}: the argument is not UTF-8: type it again in a UTF-8 terminal")


def progress_bar() -> Progress:
    """Return a progress bar with a count, shown only on a terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def events_bar(*, shown: bool) -> Progress:
    """Return a progress bar over events, shown only on a terminal and if *shown*."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f} events", markup=False),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not (shown and err.is_terminal),
    )


@contextmanager
def bytes_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how much of a file is read; yield a function that takes bytes done and bytes in total."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_json(value: Any) -> None:
    """Print *value* as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
