"""One system for the tests of this folder. It stops after them, because a running system uses a tenth of a core."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.chromium import chromium
from tests.support.whole_system import System, whole_system


@pytest.fixture(name="system", scope="package")
def _system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with whole_system(tmp_path_factory.mktemp("system")) as system:
        yield system


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser
