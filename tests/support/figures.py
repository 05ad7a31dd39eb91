"""Print what tests have measured at the end of the session, also when other workers ran them."""

from collections.abc import Callable, Iterator

import pytest

Show = Callable[[str], None]
_PROPERTY = "figures"


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Show:
    """Return a function that keeps a text for the end of the session."""

    def keep(text: str) -> None:
        request.node.user_properties.append((_PROPERTY, text))

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the texts that tests have kept, in a section of their own."""
    texts = list(_kept(terminalreporter))
    if texts:
        terminalreporter.section("figures")
        terminalreporter.write_line("\n\n".join(texts))


def _kept(terminalreporter: pytest.TerminalReporter) -> Iterator[str]:
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            if getattr(report, "when", "") == "call":
                yield from (str(text) for name, text in report.user_properties if name == _PROPERTY)
