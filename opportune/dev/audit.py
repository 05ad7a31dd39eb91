"""Look for known vulnerabilities in all locked packages, with pip-audit in an environment of its own.

    python -m opportune.dev.audit PIP_AUDIT LOCK...

Exit code 0: none is known. 1: some are known, and the output names them. 2: pip-audit failed. 3: no database could be
asked, or it did not know all packages, so the rest is unknown.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from opportune.dev.lock_files import read_lock

CLEAN, VULNERABLE, FAILED, UNREACHABLE = 0, 1, 2, 3
SERVICES = ("pypi", "osv")
TIMEOUT_S = 900
# What pip-audit, requests and Python say if a server does not answer.
_AWAY = (
    "connectionerror", "connection error", "could not connect", "failed to establish", "max retries", "timed out",
    "name resolution", "proxyerror", "unreachable", "refused", "sslerror", "503 ", "502 ", "403 ", "404 ", "tls",
)  # fmt: skip


class Result(NamedTuple):
    """The result of pip-audit: its exit code and its output."""

    code: int
    out: str
    err: str


Run = Callable[[Sequence[str]], Result]


def run_tool(command: Sequence[str]) -> Result:
    """Return the result of *command*; a timeout counts as a server that does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return Result(1, "", f"timed out after {TIMEOUT_S} s")
    except OSError as error:
        return Result(127, "", f"{command[0]}: {error.strerror}")
    return Result(done.returncode, done.stdout, done.stderr)


def audit(tool: str, locks: Sequence[str], run: Run, say: Callable[[str], object]) -> int:
    """Ask one database after the other until one answers; return the exit code."""
    reasons = []
    with tempfile.TemporaryDirectory() as folder:
        files = _merge(locks, Path(folder))
        for service in SERVICES:
            reports, result = _ask(tool, service, files, run)
            if result is None:
                if all("skip_reason" in each for each in reports):
                    reasons.append(f"{service}: knows none of {len(reports)} packages")
                    continue
                return _tell(reports, service, len(locks), say)
            last = (result.err.strip().splitlines() or ["no output"])[-1]
            if not any(word in result.err.lower() for word in _AWAY):
                say(f"pip-audit failed: {last}")
                return FAILED
            reasons.append(f"{service}: {last[:200]}")
    say("No database of vulnerabilities could be asked, so nothing is known about these packages.")
    for reason in reasons:
        say(f"  {reason}")
    say("Run `make audit` where the internet can be reached.")
    return UNREACHABLE


def _merge(locks: Sequence[str], folder: Path) -> list[Path]:
    """Write the packages of all *locks* to files in which each name occurs once, as pip-audit demands.

    A lock may have several versions of a package, for several versions of Python.
    """
    versions: dict[str, dict[str, tuple[str, ...]]] = {}
    for lock in locks:
        for package in read_lock(Path(lock)):
            versions.setdefault(package.name, {})[package.version] = package.sha256
    rounds: list[list[str]] = []
    for name, found in sorted(versions.items()):
        for number, (version, hashes) in enumerate(found.items()):
            if number == len(rounds):
                rounds.append([])
            rounds[number].append(f"{name}=={version} {' '.join(f'--hash=sha256:{each}' for each in hashes)}\n")
    files = [folder / f"{number}.txt" for number in range(len(rounds))]
    for file, lines in zip(files, rounds, strict=True):
        file.write_text("".join(lines), encoding="utf-8")
    return files


def _ask(tool: str, service: str, files: Sequence[Path], run: Run) -> tuple[list[dict[str, Any]], Result | None]:
    """Return what *service* knows of the packages in *files*, and the first result that is not a report."""
    options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
    reports: list[dict[str, Any]] = []
    for file in files:
        result = run([tool, *options, "--vulnerability-service", service, "--requirement", str(file)])
        report = _parse(result.out)
        if report is None:
            return [], result
        reports += report
    return reports, None


def _parse(text: str) -> list[dict[str, Any]] | None:
    """Return the packages in pip-audit's report; ``None`` if it is not one."""
    try:
        found = json.loads(text)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, list) else None


def _tell(report: list[dict[str, Any]], service: str, files: int, say: Callable[[str], object]) -> int:
    known: dict[tuple[str, str, str], list[str]] = {}
    skipped = sorted({each["name"] for each in report if "skip_reason" in each})
    for each in report:
        for found in each.get("vulns", []):
            known[each["name"], each.get("version", ""), found["id"]] = found.get("fix_versions", [])
    for (name, version, identifier), fixes in sorted(known.items()):
        say(f"{name} {version}: {identifier}; fixed in {', '.join(fixes) or 'no version yet'}")
    if skipped:
        say(f"not checked: {', '.join(skipped)}")
    say(f"{len(known)} known vulnerabilities in {len(report)} packages of {files} lock files, says {service}")
    if known:
        say("Upgrade with `make lock UPGRADE=1`, then run `make audit` again.")
        return VULNERABLE
    return UNREACHABLE if skipped else CLEAN


def main(arguments: Sequence[str]) -> int:
    """Run the audit; return the exit code."""
    return audit(arguments[0], arguments[1:], run_tool, lambda line: sys.stdout.write(f"{line}\n"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
