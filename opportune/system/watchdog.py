"""Clean up after a parent that was killed: ``python -m opportune.system.watchdog <run folder>``.

The parent holds the other end of this process's standard input. When the parent ends, even by SIGKILL,
the system closes that end. The watchdog then stops the subprocesses that are still running. (Linux could
send a death signal itself, but it does so when the thread that started the process ends.)
"""

import sys
from pathlib import Path

from opportune.system.processes import sweep


def main() -> None:
    """Wait until the parent has ended, then clean up its run folder."""
    run_dir = Path(sys.argv[1])
    sys.stdin.buffer.read()
    sweep(run_dir)


if __name__ == "__main__":
    main()
