"""The Gateway, to be killed."""

import os

from gateway.handler import create_handler
from gateway.wiring import build
from shared.settings import GATEWAY
from tests.support.faults.apps.settings import settings
from tests.support.faults.points import Points, folder_of

handler = Points(folder_of(os.environ), GATEWAY).around(create_handler(build(settings(GATEWAY))), lambda _: True)
