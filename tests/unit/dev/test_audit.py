"""`make audit`: what it says and how it ends, with pip-audit's documented output."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from opportune.dev.audit import CLEAN, FAILED, UNREACHABLE, VULNERABLE, Result, audit, run_tool

OFFLINE = "requests.exceptions.ConnectionError: HTTPSConnectionPool: Max retries exceeded: Name resolution failed"
GOOD: dict[str, Any] = {"name": "six", "version": "1.17.0", "vulns": []}
BAD: dict[str, Any] = {
    "name": "redis", "version": "8.1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["8.1.1"], "aliases": []}, {"id": "PYSEC-2", "fix_versions": []}],
}  # fmt: skip


def report(*packages: dict[str, Any], code: int = 0) -> Result:
    """Return pip-audit's report about *packages*."""
    return Result(code, json.dumps({"dependencies": packages, "fixes": []}), "")


HASHES = "--hash=sha256:" + "a" * 64


@pytest.fixture(name="locks")
def _locks(tmp_path: Path) -> list[str]:
    """Two locks that share a package."""
    (tmp_path / "a.txt").write_text(f"six==1.17.0 \\\n    {HASHES}\nredis==8.1.0 \\\n    {HASHES}\n")
    (tmp_path / "b.txt").write_text(f"six==1.17.0 \\\n    {HASHES}\n")
    return [str(tmp_path / name) for name in ("a.txt", "b.txt")]


def run(locks: list[str], *results: Result) -> tuple[int, str, list[Sequence[str]]]:
    """Return exit code, output and calls, if pip-audit ends with *results*, one after the other."""
    calls: list[Sequence[str]] = []
    said: list[str] = []

    def answer(command: Sequence[str]) -> Result:
        calls.append(command)
        return results[len(calls) - 1]

    code = audit("pip-audit", locks, answer, said.append)
    return code, "\n".join(said), calls


def test_nothing_known_is_clean(locks: list[str]) -> None:
    """All lock files are checked in one call, by their hashes, without installing anything."""
    code, said, (call,) = run(locks, report(GOOD))
    assert (code, said) == (CLEAN, "0 known vulnerabilities in 1 packages of 2 lock files, says pypi")
    assert {"--disable-pip", "--require-hashes"} <= set(call)


def test_two_versions_of_a_package_are_both_checked(locks: list[str]) -> None:
    """A lock may have one per version of Python; pip-audit takes one a call."""
    with Path(locks[1]).open("a") as file:
        file.write(f"redis==7.0.0 ; python_full_version < '3.12' \\\n    {HASHES}\n")
    code, said, calls = run(locks, report(GOOD), report(BAD, code=1))
    assert (code, len(calls), "redis 8.1.0: PYSEC-1" in said) == (VULNERABLE, 2, True)


def test_what_is_known_is_named_with_its_fix(locks: list[str]) -> None:
    """Exit code 1. The same package in two locks is named once."""
    code, said, _ = run(locks, report(BAD, GOOD, BAD, code=1))
    assert code == VULNERABLE
    assert said.splitlines()[:2] == [
        "redis 8.1.0: PYSEC-1; fixed in 8.1.1",
        "redis 8.1.0: PYSEC-2; fixed in no version yet",
    ]


def test_a_package_that_was_not_checked_is_named(locks: list[str]) -> None:
    """It must not look clean."""
    code, said, _ = run(locks, report(GOOD, {"name": "odd", "skip_reason": "not found"}))
    assert (code, "not checked: odd" in said) == (UNREACHABLE, True)


def test_a_mirror_that_knows_nothing_is_no_database(locks: list[str]) -> None:
    """A copy of the index has packages, but no advisories: every package is skipped."""
    nothing = report({"name": "six", "skip_reason": "not found"}, {"name": "redis", "skip_reason": "not found"})
    code, said, _ = run(locks, nothing, nothing)
    assert (code, "osv: knows none of 2 packages" in said) == (UNREACHABLE, True)


def test_a_second_database_is_asked(locks: list[str]) -> None:
    """One of them may be blocked."""
    code, _, calls = run(locks, Result(1, "", OFFLINE), report(BAD, code=1))
    assert (code, [call[call.index("--vulnerability-service") + 1] for call in calls]) == (VULNERABLE, ["pypi", "osv"])


@pytest.mark.parametrize(
    "error", [OFFLINE, "ERROR:pip_audit: 403 Client Error: Forbidden", "ProxyError", "Read timed out.", "SSLError: bad"]
)
def test_without_a_database_nothing_is_called_clean(locks: list[str], error: str) -> None:
    """Exit code 3, and the output says that nothing is known."""
    code, said, _ = run(locks, Result(1, "", error), Result(1, "", error))
    assert code == UNREACHABLE
    assert "nothing is known" in said


@pytest.mark.parametrize("out", ["", "[]", "{}", '{"dependencies": 7}', "not json"])
def test_any_other_failure_is_a_failure(locks: list[str], out: str) -> None:
    """Exit code 2: a lock that cannot be read, or another version of the tool."""
    code, said, _ = run(locks, Result(2, out, "usage: pip-audit\nunrecognized arguments: --x"))
    assert (code, said) == (FAILED, "pip-audit failed: unrecognized arguments: --x")


def test_a_missing_tool_is_a_failure(locks: list[str]) -> None:
    """The message names it."""
    said: list[str] = []
    assert audit("/nowhere/pip-audit", locks, run_tool, said.append) == FAILED
    assert said == ["pip-audit failed: /nowhere/pip-audit: No such file or directory"]
