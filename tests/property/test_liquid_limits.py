"""Generated templates with hostile values stay within a gigabyte and a second, in the check and in the Engager."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

PROCESSES = 2


def test_no_template_uses_up_time_or_memory(request: pytest.FixtureRequest) -> None:
    """Each case ends with a text or with a reason; `--pairs` makes it deeper, a case for every hundred pairs."""
    pairs = request.config.getoption("--pairs", default=None)
    cases = pairs // 100 if pairs else 240
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "functions"), str(ROOT)])}
    share = -(-cases // PROCESSES)
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.liquid_fuzz", str(number * share), str(share)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for process in processes:
        output, errors = process.communicate(timeout=None if pairs else 120)
        assert process.returncode == 0, errors[-2000:]
        endings = json.loads(output)
        assert endings["rendered"] > share / 10
        assert endings["template_limit"] > share / 20
        assert endings.get("invalid_content", 0) == 0
