"""Settings: one declared table of environment variables, read once per function.

``Settings.from_env`` raises one error that names everything that is missing or malformed.
docs/settings.md and the template's environments are tested against ``SETTINGS``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared import mongodb_address, redis_address, secrets
from shared.clock import Clock, now_ms
from shared.clock import parse as parse_clock
from shared.errors import InvalidSettings

GATEWAY, DECIDER, ENGAGER, REFRESHER = "gateway", "decider", "engager", "refresher"
PREFERENCES = "preferences"
EVERY_FUNCTION = (GATEWAY, DECIDER, ENGAGER, REFRESHER, PREFERENCES)


def _boolean(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise ValueError("must be greater than 0")
    return value


@dataclass(frozen=True)
class Setting:
    """One environment variable: who reads it, how it is parsed, what it means.

    ``local``: for the local stack and tests only; no deployed function has it.
    """

    name: str
    parse: Callable[[str], Any]
    help: str
    used_by: tuple[str, ...]
    default: Any = None
    local: bool = False

    @property
    def attribute(self) -> str:
        """The attribute of `Settings` that holds the value."""
        return self.name.removeprefix("OPPORTUNE_").lower()


SETTINGS: tuple[Setting, ...] = (
    Setting("OPPORTUNE_DECIDER_FUNCTION", str, "name or ARN of the Decider (its alias)", (GATEWAY,)),
    Setting("OPPORTUNE_ENGAGER_FUNCTION", str, "name or ARN of the Engager (its alias)", (DECIDER,)),
    Setting("OPPORTUNE_DELIVERIES_QUEUE_URL", str, "URL of the SQS queue of deliveries", (DECIDER,)),
    Setting(
        "OPPORTUNE_DOORBELLS_QUEUE_URL",
        str,
        "URL of the SQS queue whose messages wake the Decider when a delayed activation is due",
        (DECIDER,),
    ),
    Setting("OPPORTUNE_DOORBELLS_QUEUE_ARN", str, "ARN of that queue: the target of one-time schedules", (DECIDER,)),
    Setting("OPPORTUNE_SCHEDULE_GROUP", str, "EventBridge Scheduler group of one-time schedules", (DECIDER,)),
    Setting("OPPORTUNE_SCHEDULE_ROLE_ARN", str, "role with which these schedules send to the queue", (DECIDER,)),
    Setting(
        "OPPORTUNE_SCHEDULES_DEAD_ARN", str, "ARN of the queue for schedules that could not be carried out", (DECIDER,)
    ),
    Setting(
        "OPPORTUNE_REDIS_URL",
        redis_address.resolve,
        "address of the state store without a password, rediss://HOST:PORT; or the ARN (arn:aws:secretsmanager:…) of "
        "the secret that holds one with a password, which is then read once, at start",
        (DECIDER,),
    ),
    Setting(
        "OPPORTUNE_REDIS_CLUSTER",
        _boolean,
        "true where the state store is in cluster mode (ElastiCache Serverless always is)",
        (DECIDER,),
        default=False,
    ),
    Setting(
        "OPPORTUNE_REDIS_CACHE_ARN",
        str,
        "ARN of the serverless cache or replication group that is entered by IAM; empty: as the address says",
        (DECIDER,),
        default="",
    ),
    Setting("OPPORTUNE_REDIS_USER", str, "user that is entered as by IAM", (DECIDER,), default=""),
    Setting(
        "OPPORTUNE_MONGODB_URL",
        mongodb_address.resolve,
        "address of MongoDB that is entered by IAM, mongodb+srv://HOST/?authMechanism=MONGODB-AWS; or the ARN "
        "(arn:aws:secretsmanager:…) of the secret that holds one with a password, which is then read once, at start",
        (DECIDER, ENGAGER, REFRESHER, PREFERENCES),
    ),
    Setting(
        "OPPORTUNE_MONGODB_DATABASE",
        str,
        "database that holds all collections",
        (DECIDER, ENGAGER, REFRESHER, PREFERENCES),
        default="opportune",
    ),
    Setting(
        "OPPORTUNE_POLL_SECONDS",
        _positive,
        "age in seconds after which rulesets, targets generation, catalogue and pauses are looked up again",
        (GATEWAY, DECIDER, ENGAGER),
        default=10,
    ),
    Setting(
        "OPPORTUNE_GATEWAY_TIMEOUT_MS",
        _positive,
        "time the Gateway gives the Decider",
        (GATEWAY,),
        default=5000,
    ),
    Setting(
        "OPPORTUNE_EVENTS_PER_SECOND",
        _positive,
        "events a second that one environment of the Gateway takes from one address with a public key, in the long run",
        (GATEWAY,),
        default=100,
    ),
    Setting(
        "OPPORTUNE_PROXIES",
        int,
        "number of proxies in front of the API, such as 1 for CloudFront: whose entries in X-Forwarded-For to skip",
        (GATEWAY,),
        default=0,
    ),
    Setting(
        "OPPORTUNE_ORIGIN_SECRET",
        str,
        "what CloudFront sends along in X-Origin-Verify: 32 characters or more, or the ARN of the secret that holds "
        "them; empty: requests need none",
        (GATEWAY,),
        default="",
    ),
    Setting(
        "OPPORTUNE_DIRECT_REQUESTS",
        _boolean,
        "true where requests without the origin secret are taken too, as while sites move to CloudFront",
        (GATEWAY,),
        default=False,
    ),
    Setting("OPPORTUNE_SES_CONFIGURATION_SET", str, "SES configuration set of all e-mails", (ENGAGER,), default=""),
    Setting(
        "OPPORTUNE_SIGNING_SECRET",
        secrets.resolve,
        "what links to unsubscribe and webhooks are signed with: 32 characters or more, or the ARN of the secret "
        "that holds them",
        (ENGAGER, PREFERENCES),
    ),
    Setting(
        "OPPORTUNE_IDENTITY_SECRET",
        str,
        "what the keys that prove user ids are derived from: 32 characters or more, or the ARN of the secret that "
        "holds them, which is read when the first proof comes that needs it",
        (GATEWAY,),
        default="",
    ),
    Setting(
        "OPPORTUNE_PREFERENCES_URL",
        str,
        "public address of the pages where customers unsubscribe, https://",
        (ENGAGER,),
    ),
    Setting(
        "OPPORTUNE_WEBHOOK_SINK",
        str,
        "an address that gets all webhooks instead of their own",
        (ENGAGER,),
        default="",
        local=True,
    ),
    Setting(
        "OPPORTUNE_CLOCK",
        parse_clock,
        "a clock that runs faster, as START_MS,SPEED",
        EVERY_FUNCTION,
        default=now_ms,
        local=True,
    ),
)


@dataclass(frozen=True)
class Settings:
    """The settings of one function; attributes it does not use are ``None``."""

    function: str
    decider_function: str = ""
    engager_function: str = ""
    deliveries_queue_url: str = ""
    doorbells_queue_url: str = ""
    doorbells_queue_arn: str = ""
    schedule_group: str = ""
    schedule_role_arn: str = ""
    schedules_dead_arn: str = ""
    redis_url: str = ""
    redis_cluster: bool = False
    redis_cache_arn: str = ""
    redis_user: str = ""
    mongodb_url: str = ""
    mongodb_database: str = ""
    poll_seconds: int = 10
    gateway_timeout_ms: int = 5000
    events_per_second: int = 100
    proxies: int = 0
    origin_secret: str = ""
    direct_requests: bool = False
    ses_configuration_set: str = ""
    signing_secret: str = ""
    identity_secret: str = ""
    preferences_url: str = ""
    webhook_sink: str = ""
    clock: Clock = now_ms

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
            except InvalidSettings as error:
                wrong.append(f"{setting.name}: {error.message}")
        if wrong:
            raise InvalidSettings("; ".join(wrong))
        return cls(function=function, **values)
