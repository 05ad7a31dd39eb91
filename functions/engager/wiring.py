"""Builds the Engager from its settings: the only place that creates its clients."""

from functools import cache

import pymongo
from pymongo.database import Database

from engager.customers import MongoCustomers
from engager.email import Mail
from engager.engage import Ports, SendEmail
from engager.handler import Deps
from engager.ledger import MongoLedger
from engager.outcome import Outcome
from engager.render import Templates
from engager.rulesets import Rulesets
from shared import mongodb
from shared.clock import now_ms
from shared.mongodb import Document
from shared.observability import observe
from shared.settings import Settings


def build(settings: Settings) -> Deps:
    """Return everything the handler needs; nothing is connected yet."""
    return assemble(settings, mongodb.database(settings.mongodb_url, settings.mongodb_database))


def assemble(settings: Settings, database: Database[Document]) -> Deps:
    """Return everything the handler needs, on a *database* of the caller's."""
    ledger = MongoLedger(database.activations, now_ms)
    return Deps(
        ports=Ports(
            rulesets=Rulesets(lambda site, version: mongodb.ruleset(database, site, version)),
            customers=MongoCustomers(database.customers),
            ledger=ledger,
            templates=Templates(),
            send_email=ses(settings.ses_configuration_set),
        ),
        settle_stale=ledger.settle_stale,
        within=pymongo.timeout,
        clock=now_ms,
        observability=observe("engager"),
    )


def ses(configuration_set: str) -> SendEmail:
    """Return the way to SES; its client, half a second of cold start, is made with the first e-mail."""

    @cache
    def mailer() -> SendEmail:
        from engager.email_ses import SesMailer, ses_client  # noqa: PLC0415 - popups never need boto3

        return SesMailer(ses_client(), configuration_set)

    def send(mail: Mail) -> Outcome:
        return mailer()(mail)

    return send
