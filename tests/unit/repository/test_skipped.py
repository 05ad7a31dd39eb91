"""In CI, a skipped test fails the run."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

TESTS = """
import pytest
def test_passes(): pass
@pytest.mark.skip(reason="no elephant here")
def test_elephant(): pass
@pytest.mark.xfail(strict=True, reason="expected")
def test_expected(): assert False
"""


def run(folder: Path, ci: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the small tests in a separate session."""
    (folder / "test_small.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "tests.support.skipped"]
    command += ["-c", "/dev/null", str(folder), *arguments]
    env = {"CI": ci, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["one process", "two workers"])
def test_a_skip_fails_the_session_and_is_named(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """With CI=true the session fails and says which test was skipped and why."""
    done = run(tmp_path, "true", *arguments)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "test_elephant: Skipped: no elephant here" in done.stdout
    assert "test_expected:" not in done.stdout


def test_elsewhere_a_skip_is_fine(tmp_path: Path) -> None:
    """Without CI the same session passes."""
    assert run(tmp_path, "").returncode == pytest.ExitCode.OK


def test_without_skips_ci_passes(tmp_path: Path) -> None:
    """An expected failure does not count as a skip."""
    assert run(tmp_path, "true", "-k", "not elephant").returncode == pytest.ExitCode.OK
