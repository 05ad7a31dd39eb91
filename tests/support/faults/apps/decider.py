"""The Decider, to be killed."""

import os
from typing import Any, cast

from decider.handler import create_handler
from decider.wiring import build
from shared.settings import DECIDER
from tests.support.faults.apps.settings import settings
from tests.support.faults.points import Points, Tripwire, folder_of

points = Points(folder_of(os.environ), DECIDER)
deps = build(settings(DECIDER))
rows: Any = Tripwire(deps.decider.rows, points, "apply", "take")
dispatch: Any = Tripwire(deps.decider.dispatch, points, "engage", "queue", "ring")
deps.decider.rows, deps.decider.dispatch = rows, dispatch
handler = points.around(cast("Any", create_handler(deps)), lambda event: event.get("type") == "decide")
