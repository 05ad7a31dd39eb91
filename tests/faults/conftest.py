"""One lab for all trials. It stops after them, because a running system uses a part of a core."""

from collections.abc import Iterator

import pytest

from tests.support.faults.system import Lab


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Return the running system that the tests inject faults into."""
    with Lab(tmp_path_factory.mktemp("lab")) as running:
        yield running
