"""Builds the Decider from its settings: the only place that creates its clients."""

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
from redis.retry import Retry

from decider import iam, rulesets
from decider.decide import Decider
from decider.dispatch import AwsDispatch, Doorbells
from decider.handler import Deps
from decider.ingest import Ingest
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

LONGEST_S = 11 * 3600  # ElastiCache breaks off after twelve hours what came in by IAM
ENGAGER_TIMEOUT_S = 3.0


class MongoLibrary:
    """`book.Library` in MongoDB."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def pointers(self) -> dict[str, mongodb.Pointer]:
        """Return the pointer of every site."""
        return mongodb.read_pointers(self._database)

    def ruleset(self, site: str, version: int) -> Any:
        """Return a published ruleset."""
        return mongodb.read_ruleset(self._database, site, version)


def redis_client(url: str, *, cluster: bool, credentials: CredentialProvider | None = None) -> Client:
    """Return a Redis client that never repeats a command: a timed-out script may have run.

    *credentials*: in place of those in the *url*.
    """
    options: dict[str, Any] = {
        "socket_timeout": 1.0,
        "socket_connect_timeout": 1.0,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
        "credential_provider": credentials,
    }
    client = RedisCluster.from_url(url, **options) if cluster else Redis.from_url(url, **options)
    return cast("Client", client)


def kept(connect: Callable[[], Client]) -> Callable[[], Client]:
    """Return what gives always the same client, made at the first use, and a new one before it is broken off."""
    made: list[tuple[Client, float]] = []

    def client() -> Client:
        if not made or time.monotonic() - made[0][1] > LONGEST_S:
            made[:] = [(connect(), time.monotonic())]
        return made[0][0]

    return client


def credentials(settings: Settings) -> CredentialProvider | None:
    """Return what a connection to the state store is opened with; None: what its address says."""
    if not settings.redis_cache_arn:
        return None
    arn = iam.read_arn(settings.redis_cache_arn)
    return iam.IamCredentials(settings.redis_user, arn, settings.clock, cache(botocore.session.get_session))


def build(settings: Settings) -> Deps:
    """Return everything the handler needs; nothing is connected yet."""
    observability = observe("decider")
    database = mongodb.database(settings.mongodb_url, settings.mongodb_database)
    library = MongoLibrary(database)

    def report(error: OpportuneError) -> None:
        observability.logger.error("rulesets not refreshed", extra={"code": error.code, "reason": error.message})

    pages: RefreshingCache[rulesets.Rulesets] = RefreshingCache(
        lambda present: rulesets.load(library, present, report),
        every_s=settings.poll_seconds,
        clock=settings.clock,
        on_error=report,
    )
    access = credentials(settings)
    rows = UserStateStore(
        kept(lambda: redis_client(settings.redis_url, cluster=settings.redis_cluster, credentials=access))
    )
    tell = observability.logger.warning
    decider = Decider(
        book=pages,
        rows=rows,
        targets=MongoTargets(database),
        dispatch=AwsDispatch(
            LambdaInvoke(lambda_client(read_timeout_s=ENGAGER_TIMEOUT_S), settings.engager_function),
            boto3.client("sqs", config=no_retry_config(read_timeout_s=2)),
            settings.deliveries_queue_url,
            # Only long delays need it: made with the first of them.
            cache(lambda: boto3.client("scheduler", config=no_retry_config(read_timeout_s=2))),
            Doorbells(
                settings.doorbells_queue_url,
                settings.doorbells_queue_arn,
                settings.schedule_group,
                settings.schedule_role_arn,
                settings.schedules_dead_arn,
            ),
        ),
        tell=tell,
    )
    stats = Stats(rows, database, settings.clock, tell)
    reception = Ingest(decider, MongoRecords(database))
    return Deps(decider, reception, stats, settings.clock, observability, invoke_async, pymongo.timeout)
