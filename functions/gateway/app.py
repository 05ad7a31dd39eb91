"""The Gateway on Lambda: the only module of it with effects at import."""

import os

from gateway.handler import create_handler
from gateway.wiring import build
from shared.settings import GATEWAY, Settings

handler = create_handler(build(Settings.from_env(os.environ, GATEWAY)))
