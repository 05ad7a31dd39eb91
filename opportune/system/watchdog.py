"""Outlive a parent that was killed: ``python -m opportune.system.watchdog <run folder>``.

The parent holds the other end of standard input. However it ends, also by SIGKILL, the system
closes that end; what the parent had no time to stop is then stopped here. (Linux could send a
death signal itself, but it does so when the *thread* that started the child ends.)
"""

import sys
from pathlib import Path

from opportune.system.processes import sweep


def main() -> None:
    """Wait until the parent is gone, then sweep its run folder."""
    run_dir = Path(sys.argv[1])
    sys.stdin.buffer.read()
    sweep(run_dir)


if __name__ == "__main__":
    main()
