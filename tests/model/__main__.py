"""Search the larger scenarios: ``python -m tests.model``. Fails if one breaks a promise."""

import sys

from tests.model.explorer import explore
from tests.model.scenarios import DEEP


def main() -> int:
    """Print the result of each search; return 1 if a promise is broken."""
    is_broken = False
    for name, scenario in DEEP.items():
        found = explore(scenario)
        print(f"{name}: {found}", flush=True)
        is_broken = is_broken or found.broken is not None
    return int(is_broken)


if __name__ == "__main__":
    sys.exit(main())
