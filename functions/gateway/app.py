"""The Gateway on Lambda. Only this module of it has effects at import."""

import os

from gateway.handler import create_handler
from gateway.wiring import build
from shared.settings import GATEWAY, Settings

handler = create_handler(build(Settings.from_env(os.environ, GATEWAY)))
