"""Preferences on Lambda. Only this module of it has effects at import."""

import os

from preferences.handler import create_handler
from preferences.wiring import build
from shared.settings import PREFERENCES, Settings

handler = create_handler(build(Settings.from_env(os.environ, PREFERENCES)))
