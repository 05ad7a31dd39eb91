"""docs/guide.md works as written."""

import pytest

from tests.support.paths import ROOT
from tests.support.played import play
from tests.support.whole_system import System


@pytest.mark.timeout(400)
def test_it_can_be_played(system: System) -> None:
    """Every file and every command works in order, against a running system."""
    assert play(ROOT / "docs" / "guide.md", system.folder, {"URL": system.stack.http_url}) >= 20
