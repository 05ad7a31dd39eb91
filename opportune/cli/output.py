"""What every command shares: how it is registered, how it prints, how its errors look."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any, TypeVar

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

from shared.errors import OpportuneError

F = TypeVar("F", bound=Callable[..., Any])

out = Console()
err = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
MongoUrl = Annotated[str | None, typer.Option("--mongodb-url", help="MongoDB; default: the running local stack's.")]


def command(group: typer.Typer, name: str) -> Callable[[F], F]:
    """Register a command that turns every expected error into one line and exit code 2."""

    def register(function: F) -> F:
        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            try:
                return function(*args, **kwargs)
            except OpportuneError as error:
                err.print(f"[red]error[/red] [bold]{error.code}[/bold]: ", end="")
                # Elsewhere than on a screen a line is a line, for whoever searches a log.
                err.print(error.message, markup=False, highlight=False, soft_wrap=not err.is_terminal)
                raise typer.Exit(2) from None
            except KeyboardInterrupt:
                err.print("stopped")
                raise typer.Exit(130) from None

        group.command(name)(guarded)
        return function

    return register


def progress_bar() -> Progress:
    """Return the progress bar of everything that may take over two seconds."""
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


@contextmanager
def bytes_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a file is read; yields what is to be told bytes done and bytes in all."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_json(value: Any) -> None:
    """Print *value* as one line of JSON."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
