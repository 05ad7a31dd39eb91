"""The Refresher on Lambda. Only this module of it has effects at import."""

import os

from refresher.handler import create_handler
from refresher.wiring import build
from shared.settings import REFRESHER, Settings

handler = create_handler(build(Settings.from_env(os.environ, REFRESHER)))
