"""The settings of a function under test, with a clock that the test can move."""

import os
from dataclasses import replace

from shared.settings import Settings
from tests.support.faults.points import folder_of, moved_clock

# Settings that an older stack does not set.
DEFAULTS = {
    "OPPORTUNE_DOORBELLS_QUEUE_URL": "http://127.0.0.1:9/doorbells",
    "OPPORTUNE_DOORBELLS_QUEUE_ARN": "arn:aws:sqs:eu-central-1:123456789012:doorbells",
    "OPPORTUNE_SCHEDULE_GROUP": "opportune",
    "OPPORTUNE_SCHEDULE_ROLE_ARN": "arn:aws:iam::123456789012:role/doorbells",
    "OPPORTUNE_SCHEDULES_DEAD_ARN": "arn:aws:sqs:eu-central-1:123456789012:doorbells-dead",
    "OPPORTUNE_SIGNING_SECRET": "0123456789abcdef0123456789abcdef",
    "OPPORTUNE_PREFERENCES_URL": "https://preferences.example",
}


def settings(function: str) -> Settings:
    """Return the settings of *function*."""
    env = {**DEFAULTS, **os.environ}
    return replace(Settings.from_env(env, function), clock=moved_clock(folder_of(env), function))
