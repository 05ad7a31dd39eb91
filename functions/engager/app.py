"""The Engager on Lambda. This is its only module with effects at import."""

import os

from engager.handler import create_handler
from engager.wiring import build
from shared.settings import ENGAGER, Settings

handler = create_handler(build(Settings.from_env(os.environ, ENGAGER)))
