"""Turn SIGTERM into an orderly exit."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Raise `SystemExit` on SIGTERM, so that context managers clean up. A handler that is already set stays."""

    def exit_orderly(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    ):
        yield
        return
    signal.signal(signal.SIGTERM, exit_orderly)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
