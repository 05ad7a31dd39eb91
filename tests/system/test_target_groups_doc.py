"""docs/target-groups.md works as written."""

import pytest

from tests.support.paths import ROOT
from tests.support.played import play
from tests.support.whole_system import System


@pytest.mark.timeout(400)
def test_it_can_be_played(system: System) -> None:
    """Every file and every command works, with the output in the document."""
    assert play(ROOT / "docs" / "target-groups.md", system.folder, {}) >= 7
