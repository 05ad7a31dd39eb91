"""Build the Decider from its settings. No other module creates its clients."""

import time
from collections.abc import Callable
from functools import cache
from typing import Any, cast

import boto3
import botocore.session
import pymongo
from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.credentials import CredentialProvider
from redis.exceptions import ReadOnlyError
from redis.retry import Retry

from decider import iam, rulesets
from decider.deliveries import AwsDeliveries
from decider.doorbells import AwsDoorbells, DoorbellTargets
from decider.ports import Deps
from decider.records import MongoRecords
from decider.stats import Stats
from decider.store import Client
from decider.user_state import UserStateStore
from shared import mongodb
from shared.errors import OpportuneError
from shared.invoke import LambdaInvoke, invoke_async, lambda_client, no_retry_config
from shared.observability import observe
from shared.refreshing_cache import RefreshingCache
from shared.settings import Settings
from shared.targets import MongoTargets

MAX_CLIENT_AGE_S = 11 * 3600  # ElastiCache closes a connection twelve hours after it authenticated with IAM
ENGAGER_TIMEOUT_S = 3.0


class MongoRulesets:
    """`RulesetStore` in MongoDB."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def pointers(self) -> dict[str, mongodb.Pointer]:
        """Return the pointers of every site."""
        return mongodb.read_pointers(self._database)

    def ruleset(self, site: str, version: int) -> Any:
        """Return a published ruleset."""
        return mongodb.read_ruleset(self._database, site, version)


def redis_client(url: str, *, cluster: bool, credentials: CredentialProvider | None = None) -> Client:
    """Return a Redis client that never retries: a script that timed out may have run.

    After a failover, the store's name leads to another server, but an open connection does not. So the client closes
    a connection to a server that became a replica.

    *credentials*: replace those in *url*.
    """
    options: dict[str, Any] = {
        "socket_timeout": 1.0,
        "socket_connect_timeout": 1.0,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "credential_provider": credentials,
    }
    if cluster:
        return cast("Client", RedisCluster.from_url(url, **options))
    return cast("Client", Redis.from_url(url, **options, retry_on_error=[ReadOnlyError]))


def reused(connect: Callable[[], Client]) -> Callable[[], Client]:
    """Return a function that returns one client, made at the first call and replaced before ElastiCache closes it."""
    made: list[tuple[Client, float]] = []

    def client() -> Client:
        if not made or time.monotonic() - made[0][1] > MAX_CLIENT_AGE_S:
            made[:] = [(connect(), time.monotonic())]
        return made[0][0]

    return client


def credentials(settings: Settings) -> CredentialProvider | None:
    """Return the credentials of the state store; ``None`` if its address contains them."""
    if not settings.redis_cache_arn:
        return None
    arn = iam.read_arn(settings.redis_cache_arn)
    return iam.IamCredentials(settings.redis_user, arn, settings.clock, cache(botocore.session.get_session))


def build(settings: Settings) -> Deps:
    """Return the dependencies of the handler; nothing is connected yet."""
    observability = observe("decider")
    database = mongodb.database(settings.mongodb_url, settings.mongodb_database)
    store = MongoRulesets(database)

    def log_error(error: OpportuneError) -> None:
        observability.logger.error("rulesets not refreshed", extra={"code": error.code, "reason": error.message})

    login = credentials(settings)
    states = UserStateStore(
        reused(lambda: redis_client(settings.redis_url, cluster=settings.redis_cluster, credentials=login))
    )
    sqs = boto3.client("sqs", config=no_retry_config(read_timeout_s=2))
    return Deps(
        rulesets=RefreshingCache(
            lambda current: rulesets.load(store, current, log_error),
            every_s=settings.poll_seconds,
            clock=settings.clock,
            on_error=log_error,
        ),
        states=states,
        targets=MongoTargets(database),
        deliveries=AwsDeliveries(
            LambdaInvoke(lambda_client(read_timeout_s=ENGAGER_TIMEOUT_S), settings.engager_function),
            sqs,
            settings.deliveries_queue_url,
        ),
        doorbells=AwsDoorbells(
            sqs,
            # Only long delays need this client, so the first of them makes it.
            cache(lambda: boto3.client("scheduler", config=no_retry_config(read_timeout_s=2))),
            DoorbellTargets(
                settings.doorbells_queue_url,
                settings.doorbells_queue_arn,
                settings.schedule_group,
                settings.schedule_role_arn,
                settings.schedules_dead_arn,
            ),
            observability.logger.warning,
        ),
        records=MongoRecords(database),
        stats=Stats(states, database, settings.clock, observability.logger.warning),
        clock=settings.clock,
        observability=observability,
        log_warning=observability.logger.warning,
        invoke_async=invoke_async,
        db_deadline=pymongo.timeout,
    )
