"""The Engager, to be killed."""

import os
from dataclasses import replace
from typing import Any

from engager.handler import create_handler
from engager.wiring import build
from shared.settings import ENGAGER
from tests.support.faults.apps.settings import settings
from tests.support.faults.points import Points, Tripwire, folder_of

points = Points(folder_of(os.environ), ENGAGER)
deps = build(settings(ENGAGER))
ledger: Any = Tripwire(deps.ports.ledger, points, "claim", "settle", "store_popup", "hold")
handler = points.around(
    create_handler(replace(deps, ports=replace(deps.ports, ledger=ledger))), lambda event: "Records" in event
)
