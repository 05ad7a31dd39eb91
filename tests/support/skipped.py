"""Fail a session with skipped tests in CI: CI has everything that a test needs."""

import os

import pytest


class SkipsFail:
    """Collects skipped tests, lists them at the end and fails the session."""

    def __init__(self) -> None:
        self._skipped: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a skipped test. An expected failure is not a skip."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Record a module that was skipped as a whole."""
        if report.skipped:
            self._note(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a session that would otherwise pass."""
        if self._skipped and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """List the skipped tests: they are why the session failed."""
        if self._skipped:
            terminalreporter.section("skipped tests fail in CI", red=True)
            for test, reason in self._skipped.items():
                terminalreporter.write_line(f"{test}: {reason}")

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        self._skipped[report.nodeid] = reason


def pytest_configure(config: pytest.Config) -> None:
    """Register the plugin if ``CI`` is set, as all CI services do."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        config.pluginmanager.register(SkipsFail())
