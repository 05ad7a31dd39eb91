"""How commands are registered, how they print, and how they report errors."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import typer
from rich.console import Console
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

from shared.errors import InvalidRequest, OpportuneError
from shared.text import is_storable

F = TypeVar("F", bound=Callable[..., Any])

out = Console()
err = Console(stderr=True)


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
    err.print(f"[red]error[/red] [bold]{code}[/bold]: ", end="")
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
        TextColumn("{task.description}"),
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
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} events"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not (shown and err.is_terminal),
    )


@contextmanager
def bytes_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how much of a file is read; yield a function that takes bytes done and bytes in total."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_json(value: Any) -> None:
    """Print *value* as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
