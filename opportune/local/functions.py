"""Define the functions of the local stack: limits as in the template, variables as on Lambda."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import shared.settings
from opportune.local.aws import ACCESS_KEY, ACCOUNT, REGION, SCHEDULE_ROLE_ARN, SECRET_KEY, Resources
from opportune.local.environments import Function, Pool, StartEnvironment
from opportune.site_tag import build
from opportune.system.subprocesses import Subprocesses
from shared.settings import DECIDER, ENGAGER, GATEWAY, PREFERENCES, REFRESHER, SETTINGS

GATEWAY_TIMEOUT_MS = 5000
FUNCTIONS_DIR = Path(shared.settings.__file__).resolve().parents[1]

FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        GATEWAY: Function("gateway.app.handler", timeout_s=10),
        DECIDER: Function("decider.app.handler", timeout_s=6),
        ENGAGER: Function("engager.app.handler", timeout_s=30),
        # Runs once a day, so it needs no warm start.
        REFRESHER: Function("refresher.app.handler", timeout_s=900, warm=0),
        # Called when a customer follows a link in an e-mail.
        PREFERENCES: Function("preferences.app.handler", timeout_s=10, warm=0),
    }
)


def settings(
    made: Resources,
    *,
    signing_secret: str,
    redis_url: str,
    mongodb_url: str,
    http_url: str,
    webhook_sink: str,
    identity_secret: str,
    poll_seconds: int,
    clock_text: str,
    speed: float,
) -> dict[str, str]:
    """Return the settings of all functions, by variable.

    signing_secret: signs links and webhooks
    identity_secret: the secret from which the keys for user ids are derived
    http_url: of the HTTP endpoint
    webhook_sink: URL that receives all webhooks
    poll_seconds: by the wall clock
    clock_text: ``START_MS,SPEED``, or empty for the wall clock
    speed: as in *clock_text*; intervals that functions measure by their own clock are longer by this factor
    """
    return {
        "OPPORTUNE_DECIDER_FUNCTION": DECIDER,
        "OPPORTUNE_ENGAGER_FUNCTION": ENGAGER,
        "OPPORTUNE_DELIVERIES_QUEUE_URL": made.queue_url,
        "OPPORTUNE_DOORBELLS_QUEUE_URL": made.doorbells_url,
        "OPPORTUNE_DOORBELLS_QUEUE_ARN": made.doorbells_arn,
        "OPPORTUNE_SCHEDULE_GROUP": made.schedule_group,
        "OPPORTUNE_SCHEDULE_ROLE_ARN": SCHEDULE_ROLE_ARN,
        "OPPORTUNE_SCHEDULES_DEAD_ARN": made.dead_schedules_arn,
        "OPPORTUNE_REDIS_URL": redis_url,
        "OPPORTUNE_MONGODB_URL": mongodb_url,
        "OPPORTUNE_POLL_SECONDS": str(max(1, round(poll_seconds * speed))),
        "OPPORTUNE_GATEWAY_TIMEOUT_MS": str(max(1, round(GATEWAY_TIMEOUT_MS * speed))),
        "OPPORTUNE_SIGNING_SECRET": signing_secret,
        "OPPORTUNE_IDENTITY_SECRET": identity_secret,
        "OPPORTUNE_PREFERENCES_URL": http_url,
        "OPPORTUNE_WEBHOOK_SINK": webhook_sink,
        "OPPORTUNE_CLOCK": clock_text,
    }


def function_environment(
    name: str,
    function: Function,
    *,
    settings: Mapping[str, str],
    aws_url: str,
    lambda_url: str,
    extra: Mapping[str, str],
) -> dict[str, str]:
    """Return the environment variables of function *name*.

    settings: by variable; only those are passed that the table of settings declares for the function
    extra: variables that win over all others except the function's own
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
        # The user's profile may set other endpoints and retries.
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


def pools(
    functions: Mapping[str, Function],
    subprocesses: Subprocesses,
    variables: Callable[[str, Function], Mapping[str, str]],
    start: StartEnvironment,
) -> dict[str, Pool]:
    """Build the site tag and return the pools of *functions*, not yet started.

    variables: returns the environment variables of a function
    start: starts an execution environment
    """
    build.build()
    return {
        name: Pool(name, function, subprocesses, variables(name, function), FUNCTIONS_DIR, start)
        for name, function in functions.items()
    }
