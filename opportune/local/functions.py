"""The functions of the local stack: limits as in the template, environment as Lambda gives it."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import shared.settings
from opportune.local.aws import ACCESS_KEY, ACCOUNT, REGION, SECRET_KEY
from opportune.local.environments import Function
from shared.settings import DECIDER, ENGAGER, GATEWAY, REFRESHER, SETTINGS

FUNCTIONS_DIR = Path(shared.settings.__file__).resolve().parents[1]

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        GATEWAY: Function("gateway.app.handler", timeout_s=10),
        DECIDER: Function("decider.app.handler", timeout_s=6),
        ENGAGER: Function("engager.app.handler", timeout_s=30),
        # Runs once a day: nothing waits for its start.
        REFRESHER: Function("refresher.app.handler", timeout_s=300, warm=0),
    }
)


def environment(
    name: str,
    function: Function,
    *,
    settings: Mapping[str, str],
    aws_url: str,
    lambda_url: str,
    extra: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment variables of function *name*.

    Of *settings* (by variable name) it gets those that the table of settings declares for it; its
    own variables win over *extra*, which win over all else.
    """
    declared = {setting.name for setting in SETTINGS if name in setting.used_by}
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": aws_url,
        "AWS_ENDPOINT_URL_LAMBDA": lambda_url,
        # The caller's profile lies there; it may name other end points and retries.
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "LAMBDA_TASK_ROOT": str(FUNCTIONS_DIR),
        "OPPORTUNE_LOCAL_ACCOUNT": ACCOUNT,
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "PYTHONPATH": str(FUNCTIONS_DIR),
        "PYTHONUNBUFFERED": "1",
        "TZ": "UTC",
        **{key: value for key, value in settings.items() if key in declared},
        **extra,
        **function.env,
    }
