"""The Decider, to be killed."""

import os
from dataclasses import replace
from typing import Any, cast

from decider.handler import create_handler
from decider.wiring import build
from shared.settings import DECIDER
from tests.support.faults.apps.settings import settings
from tests.support.faults.points import Points, Tripwire, folder_of

points = Points(folder_of(os.environ), DECIDER)
deps = build(settings(DECIDER))
states: Any = Tripwire(deps.states, points, "apply", "claim")
deliveries: Any = Tripwire(deps.deliveries, points, "engage", "enqueue")
doorbells: Any = Tripwire(deps.doorbells, points, "schedule_doorbell")
deps = replace(deps, states=states, deliveries=deliveries, doorbells=doorbells)
handler = points.around(cast("Any", create_handler(deps)), lambda event: event.get("type") == "decide")
