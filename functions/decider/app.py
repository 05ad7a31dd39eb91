"""The Decider on Lambda: the only module of it with effects at import."""

import os

from decider.handler import create_handler
from decider.wiring import build
from shared.settings import DECIDER, Settings

handler = create_handler(build(Settings.from_env(os.environ, DECIDER)))
