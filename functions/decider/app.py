"""The Decider's entry point on Lambda, and its only module with effects at import."""

import os

from decider.handler import create_handler
from decider.wiring import build
from shared.settings import DECIDER, Settings

handler = create_handler(build(Settings.from_env(os.environ, DECIDER)))
