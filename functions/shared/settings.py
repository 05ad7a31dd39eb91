"""Settings: environment variables, declared once in `Settings` and read once per function.

Tests compare docs/settings.md and the template's environments with this declaration.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from shared import mongodb_address, redis_address, secrets
from shared.clock import Clock, now_ms, parse_clock
from shared.errors import InvalidSettings

GATEWAY, DECIDER, ENGAGER, REFRESHER = "gateway", "decider", "engager", "refresher"
PREFERENCES = "preferences"
EVERY_FUNCTION = (GATEWAY, DECIDER, ENGAGER, REFRESHER, PREFERENCES)
_USE_MONGODB = (DECIDER, ENGAGER, REFRESHER, PREFERENCES)


@dataclass(frozen=True)
class Setting:
    """One environment variable.

    parse: turns its text into the value; raises `ValueError`, `KeyError` or `InvalidSettings`.
    used_by: the functions that read it.
    default: the value if the variable is missing or empty; ``None`` if it is required.
    local: only the local stack and tests set it, never a deployment.
    """

    name: str
    parse: Callable[[str], Any]
    meaning: str
    used_by: tuple[str, ...]
    default: Any
    local: bool

    @property
    def attribute(self) -> str:
        """The attribute of `Settings` that holds the value."""
        return self.name.removeprefix("OPPORTUNE_").lower()


def _parse_boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _parse_positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise ValueError("must be greater than 0")
    return value


def _setting(
    *used_by: str, meaning: str, parse: Callable[[str], Any] = str, default: Any = None, local: bool = False
) -> Any:
    """Declare a field of `Settings`. A required setting is an empty text for functions that do not use it."""
    declared = {"meaning": meaning, "used_by": used_by, "parse": parse, "default": default, "local": local}
    return field(default="" if default is None else default, metadata=declared)


@dataclass(frozen=True)
class Settings:
    """The settings of one function. Those that it does not use have their defaults."""

    function: str
    decider_function: str = _setting(GATEWAY, meaning="name or ARN of the Decider (its alias)")
    engager_function: str = _setting(DECIDER, meaning="name or ARN of the Engager (its alias)")
    deliveries_queue_url: str = _setting(DECIDER, meaning="URL of the SQS queue of deliveries")
    doorbells_queue_url: str = _setting(
        DECIDER, meaning="URL of the SQS queue that wakes the Decider when a delayed activation is due"
    )
    doorbells_queue_arn: str = _setting(DECIDER, meaning="ARN of that queue; one-time schedules send to it")
    schedule_group: str = _setting(DECIDER, meaning="EventBridge Scheduler group of the one-time schedules")
    schedule_role_arn: str = _setting(DECIDER, meaning="role with which these schedules send to the queue")
    schedules_dead_arn: str = _setting(DECIDER, meaning="ARN of the dead-letter queue of schedules")
    redis_url: str = _setting(
        DECIDER,
        parse=redis_address.resolve,
        meaning="address of the state store, redis:// or rediss://, without a password; or the ARN of a secret that "
        "holds an address with one",
    )
    redis_cluster: bool = _setting(
        DECIDER,
        parse=_parse_boolean,
        default=False,
        meaning="true if the state store runs in cluster mode; ElastiCache Serverless always does",
    )
    redis_cache_arn: str = _setting(
        DECIDER,
        default="",
        meaning="ARN of the serverless cache or replication group, for authentication with IAM; empty: as the address "
        "says",
    )
    redis_user: str = _setting(DECIDER, default="", meaning="user for authentication with IAM")
    mongodb_url: str = _setting(
        *_USE_MONGODB,
        parse=mongodb_address.resolve,
        meaning="address of MongoDB for authentication with IAM, mongodb+srv://HOST/?authMechanism=MONGODB-AWS; or the "
        "ARN of a secret that holds an address with a password",
    )
    mongodb_database: str = _setting(*_USE_MONGODB, default="opportune", meaning="database that holds all collections")
    poll_seconds: int = _setting(
        GATEWAY,
        DECIDER,
        ENGAGER,
        parse=_parse_positive,
        default=10,
        meaning="age in seconds after which rulesets, the targets generation, the catalogue and pauses are read again",
    )
    gateway_timeout_ms: int = _setting(
        GATEWAY, parse=_parse_positive, default=5000, meaning="how long the Gateway waits for the Decider"
    )
    events_per_second: int = _setting(
        GATEWAY,
        parse=_parse_positive,
        default=100,
        meaning="sustained rate of events that one environment of the Gateway accepts from one address with a public "
        "key",
    )
    proxies: int = _setting(
        GATEWAY,
        parse=int,
        default=0,
        meaning="number of proxies in front of the API whose entries in X-Forwarded-For to skip: 1 for CloudFront",
    )
    origin_secret: str = _setting(
        GATEWAY,
        default="",
        meaning="secret that CloudFront sends in X-Origin-Verify, 32 characters or more, or the ARN of a secret that "
        "holds it; empty: requests need none",
    )
    direct_requests: bool = _setting(
        GATEWAY,
        parse=_parse_boolean,
        default=False,
        meaning="true to accept requests without the origin secret too, while sites move to CloudFront",
    )
    ses_configuration_set: str = _setting(ENGAGER, default="", meaning="SES configuration set of all e-mails")
    signing_secret: str = _setting(
        ENGAGER,
        PREFERENCES,
        parse=secrets.resolve,
        meaning="secret that signs unsubscribe links and webhooks, 32 characters or more, or the ARN of a secret that "
        "holds it",
    )
    identity_secret: str = _setting(
        GATEWAY,
        default="",
        meaning="secret from which the keys that prove user ids are derived, 32 characters or more, or the ARN of a "
        "secret that holds it; read when the first proof needs it",
    )
    preferences_url: str = _setting(ENGAGER, meaning="public https:// address of the unsubscribe pages")
    webhook_sink: str = _setting(
        ENGAGER, default="", local=True, meaning="address that receives all webhooks instead of their own"
    )
    clock: Clock = _setting(  # noqa: RUF009 - it returns a field
        *EVERY_FUNCTION,
        parse=parse_clock,
        default=now_ms,
        local=True,
        meaning="a clock that runs faster, as START_MS,SPEED",
    )

    @classmethod
    def from_env(cls, env: Mapping[str, str], function: str) -> Self:
        """Return what *function* uses from *env*; raise one `InvalidSettings` that names everything wrong."""
        values: dict[str, Any] = {}
        wrong: list[str] = []
        for setting in SETTINGS:
            if function not in setting.used_by:
                continue
            text = env.get(setting.name, "")
            if not text and setting.default is None:
                wrong.append(f"{setting.name} is missing ({setting.meaning})")
                continue
            try:
                values[setting.attribute] = setting.parse(text) if text else setting.default
            except (ValueError, KeyError):
                wrong.append(f"{setting.name} is not valid: {text!r} ({setting.meaning})")
            except InvalidSettings as error:
                wrong.append(f"{setting.name}: {error.message}")
        if wrong:
            raise InvalidSettings("; ".join(wrong))
        return cls(function=function, **values)


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(f"OPPORTUNE_{each.name.upper()}", **each.metadata) for each in fields(Settings) if each.metadata
)
