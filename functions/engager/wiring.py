"""Builds the Engager from its settings: the only place that creates its clients."""

from functools import cache, partial
from typing import Any

import pymongo
from pymongo.database import Database

from engager.channels import outbound
from engager.controls import Controls
from engager.customers import MongoCustomers
from engager.feedback import Feedback
from engager.forget import Forgotten, forget
from engager.handler import Deps
from engager.ledger.backlog import Backlog
from engager.ledger.conversions import Conversions
from engager.ledger.indexes import index
from engager.ledger.ledger import MongoLedger
from engager.ports import Ports
from engager.render import Templates
from engager.rulesets import Rulesets
from engager.send_rate_limiter import SendRateLimiter
from engager.sweep import Sweeper
from engager.tombstones import Tombstones
from shared import mongodb
from shared.mongodb import Document
from shared.observability import observe
from shared.optouts import OptOuts
from shared.settings import Settings
from shared.targets import MongoTargets


def build(settings: Settings) -> Deps:
    """Return everything the handler needs; nothing is connected yet."""
    return assemble(settings, mongodb.database(settings.mongodb_url, settings.mongodb_database))


def assemble(settings: Settings, database: Database[Document]) -> Deps:
    """Return everything the handler needs, on a *database* of the caller's."""
    clock, observability = settings.clock, observe("engager")
    conversions = Conversions(database.activations, database.conversions, clock)
    opt_outs = OptOuts(database.optouts, clock)
    ports = Ports(
        rulesets=Rulesets(lambda site, version: mongodb.ruleset(database, site, version)),
        customers=MongoCustomers(database.customers),
        ledger=MongoLedger(database.activations, clock),
        templates=Templates(),
        outward=outbound.outward(settings),
        controls=Controls(database, every_s=settings.poll_seconds, clock=clock, observability=observability),
        opt_outs=opt_outs,
        targets=MongoTargets(database),
        ceilings=SendRateLimiter(database.ceilings),
        goals=conversions,
        forgotten=Forgotten(database.forgotten, settings.signing_secret),
        tombstones=Tombstones(
            database.forgotten,
            settings.signing_secret,
            every_s=settings.poll_seconds,
            clock=clock,
            observability=observability,
        ),
        unsubscribe_url=partial(outbound.unsubscribe_url, settings),
        clock=clock,
    )
    return Deps(
        ports=ports,
        sweeper=Sweeper(
            backlog=Backlog(database.activations, clock),
            catch_up=conversions.catch_up,
            index=cache(partial(index, database)),
            tell=observability.logger.warning,
        ),
        convert=conversions.mark,
        note=Feedback(database.activations, opt_outs, clock),
        forget=partial(forget, database, settings.signing_secret),
        within=pymongo.timeout,
        clock=clock,
        observability=observability,
        hand_over=_hand_over,
    )


def _hand_over(function: str, payload: dict[str, Any]) -> None:
    from shared.invoke import invoke_async  # noqa: PLC0415 - brings boto3, which popups never need

    invoke_async(function, payload)
