"""In CI a skipped test is a failed session: whatever a test needs, CI has it."""

import os

import pytest


class SkipsFail:
    """Collects skips; in the end names them and fails the session."""

    def __init__(self) -> None:
        self._skipped: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a skipped test; an expected failure is none."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a module that was skipped as a whole."""
        if report.skipped:
            self._note(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that would have passed."""
        if self._skipped and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say which tests were skipped, and that this is why the session failed."""
        if self._skipped:
            terminalreporter.section("skipped in CI, where nothing may be", red=True)
            for test, reason in self._skipped.items():
                terminalreporter.write_line(f"{test}: {reason}")

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        self._skipped[report.nodeid] = reason


def pytest_configure(config: pytest.Config) -> None:
    """Switch on where ``CI`` is set, as all CI services do."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        config.pluginmanager.register(SkipsFail())
