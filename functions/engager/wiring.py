"""Builds the Engager from its settings: the only place that creates its clients."""

from functools import cache, partial
from typing import Any

import pymongo
from pymongo.database import Database

from engager.channels.outbound import outbound_channels
from engager.channels.unsubscribe import unsubscribe_url
from engager.controls import Controls
from engager.customers import MongoCustomers
from engager.forget import forget
from engager.ledger.backlog import Backlog
from engager.ledger.conversions import Conversions
from engager.ledger.indexes import ensure_indexes
from engager.ledger.ledger import MongoLedger
from engager.mail_events import MailEventRecorder
from engager.ports import Deps, Ports, SweepPorts
from engager.render import Templates
from engager.rulesets import Rulesets
from engager.send_blocks import SendBlocks
from engager.send_rate_limiter import MongoSendRateLimiter
from engager.tombstones import CachedTombstones, MongoTombstones
from shared import mongodb
from shared.mongodb import Document
from shared.observability import observe
from shared.optouts import OptOuts
from shared.settings import Settings
from shared.targets import MongoTargets


def build(settings: Settings) -> Deps:
    """Return the handler's dependencies. Nothing is connected yet."""
    return assemble(settings, mongodb.database(settings.mongodb_url, settings.mongodb_database))


def assemble(settings: Settings, database: Database[Document]) -> Deps:
    """Return the handler's dependencies on the caller's *database*."""
    clock, observability = settings.clock, observe("engager")
    conversions = Conversions(database.activations, database.conversions, clock)
    opt_outs = OptOuts(database.optouts, clock)
    ports = Ports(
        rulesets=Rulesets(lambda site, version: mongodb.read_ruleset(database, site, version)),
        customers=MongoCustomers(database.customers),
        ledger=MongoLedger(database.activations, clock),
        templates=Templates(),
        outbound=outbound_channels(settings),
        controls=Controls(database, every_s=settings.poll_seconds, clock=clock, observability=observability),
        send_blocks=SendBlocks(database),
        targets=MongoTargets(database),
        send_rate_limiter=MongoSendRateLimiter(database.send_rates),
        goals=conversions,
        tombstones=MongoTombstones(database.forgotten, settings.signing_secret),
        cached_tombstones=CachedTombstones(
            database.forgotten,
            settings.signing_secret,
            every_s=settings.poll_seconds,
            clock=clock,
            observability=observability,
        ),
        unsubscribe_url=partial(unsubscribe_url, settings),
        clock=clock,
    )
    return Deps(
        ports=ports,
        sweep=SweepPorts(
            backlog=Backlog(database.activations, clock),
            apply_early_conversions=conversions.apply_early,
            ensure_indexes=cache(partial(ensure_indexes, database)),
            log_warning=observability.logger.warning,
        ),
        mark_conversions=conversions.mark,
        record_mail_event=MailEventRecorder(database.activations, opt_outs, clock),
        forget=partial(forget, database, settings.signing_secret),
        db_deadline=pymongo.timeout,
        invoke_async=_invoke_async,
        clock=clock,
        observability=observability,
    )


def _invoke_async(function: str, payload: dict[str, Any]) -> None:
    from shared.invoke import invoke_async  # noqa: PLC0415 - imports boto3, which popups never need

    invoke_async(function, payload)
