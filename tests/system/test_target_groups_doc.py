"""docs/target-groups.md is what happens."""

import pytest

from tests.support.paths import ROOT
from tests.support.played import play
from tests.support.whole_system import System


@pytest.mark.timeout(400)
def test_it_can_be_played(system: System) -> None:
    """Every file and every command of the document, with the output that it shows."""
    assert play(ROOT / "docs" / "target-groups.md", system.folder, {}) >= 7
