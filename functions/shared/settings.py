"""Settings: one declared table of environment variables, read once per function.

``Settings.from_env`` raises one error that names everything that is missing or malformed. The
README's table and the template's environments are tested against ``SETTINGS``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared import secrets
from shared.errors import InvalidSettings

GATEWAY, DECIDER, ENGAGER, REFRESHER = "gateway", "decider", "engager", "refresher"


def _positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise ValueError("must be greater than 0")
    return value


@dataclass(frozen=True)
class Setting:
    """One environment variable: who reads it, how it is parsed, what it means."""

    name: str
    parse: Callable[[str], Any]
    help: str
    used_by: tuple[str, ...]
    default: Any = None

    @property
    def attribute(self) -> str:
        """The attribute of `Settings` that holds the value."""
        return self.name.removeprefix("OPPORTUNE_").lower()


SETTINGS: tuple[Setting, ...] = (
    Setting("OPPORTUNE_DECIDER_FUNCTION", str, "name or ARN of the Decider (its alias)", (GATEWAY,)),
    Setting("OPPORTUNE_ENGAGER_FUNCTION", str, "name or ARN of the Engager (its alias)", (DECIDER,)),
    Setting("OPPORTUNE_DELIVERIES_QUEUE_URL", str, "URL of the SQS queue of deliveries", (DECIDER,)),
    Setting("OPPORTUNE_REDIS_URL", str, "address of the Redis state store, redis:// or rediss://", (DECIDER,)),
    Setting(
        "OPPORTUNE_REDIS_CLUSTER",
        lambda text: {"true": True, "false": False}[text.lower()],
        "true where the state store is in cluster mode (ElastiCache Serverless always is)",
        (DECIDER,),
        default=False,
    ),
    Setting(
        "OPPORTUNE_MONGODB_URL",
        secrets.resolve,
        "address of MongoDB, mongodb:// or mongodb+srv://; or the ARN (arn:aws:secretsmanager:…) of the "
        "secret that holds it, which is then read once, at start",
        (DECIDER, ENGAGER, REFRESHER),
    ),
    Setting(
        "OPPORTUNE_MONGODB_DATABASE",
        str,
        "database that holds all collections",
        (DECIDER, ENGAGER, REFRESHER),
        default="opportune",
    ),
    Setting(
        "OPPORTUNE_POLL_SECONDS",
        _positive,
        "age in seconds after which rulesets, targets generation and catalogue are looked up again",
        (GATEWAY, DECIDER),
        default=10,
    ),
    Setting(
        "OPPORTUNE_GATEWAY_TIMEOUT_MS",
        _positive,
        "time the Gateway gives the Decider",
        (GATEWAY,),
        default=5000,
    ),
    Setting("OPPORTUNE_SES_CONFIGURATION_SET", str, "SES configuration set of all e-mails", (ENGAGER,), default=""),
)


@dataclass(frozen=True)
class Settings:
    """The settings of one function; attributes it does not use are ``None``."""

    function: str
    decider_function: str = ""
    engager_function: str = ""
    deliveries_queue_url: str = ""
    redis_url: str = ""
    redis_cluster: bool = False
    mongodb_url: str = ""
    mongodb_database: str = ""
    poll_seconds: int = 10
    gateway_timeout_ms: int = 5000
    ses_configuration_set: str = ""

    @classmethod
    def from_env(cls, env: Mapping[str, str], function: str) -> "Settings":
        """Read what *function* uses from *env*; raise `InvalidSettings` naming all that is wrong."""
        values: dict[str, Any] = {}
        wrong: list[str] = []
        for setting in SETTINGS:
            if function not in setting.used_by:
                continue
            text = env.get(setting.name, "")
            if not text and setting.default is None:
                wrong.append(f"{setting.name} is missing ({setting.help})")
                continue
            try:
                values[setting.attribute] = setting.parse(text) if text else setting.default
            except (ValueError, KeyError):
                wrong.append(f"{setting.name} cannot be read: {text!r} ({setting.help})")
        if wrong:
            raise InvalidSettings("; ".join(wrong))
        return cls(function=function, **values)
