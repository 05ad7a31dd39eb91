"""The real system on stores and providers that fail on command, and trials that end with a check."""

import itertools
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pymongo
import urllib3

from definitions.publishing import versions
from opportune.local import aws
from opportune.local.environments import Function
from opportune.local.functions import FUNCTIONS, FUNCTIONS_DIR
from opportune.local.stack import Stack
from opportune.system import processes
from opportune.system.subprocesses import Subprocesses
from shared.invoke import LambdaInvoke
from shared.settings import DECIDER, ENGAGER, GATEWAY, REFRESHER
from tests.support.faults import points, site
from tests.support.faults.history import History
from tests.support.faults.provider import Provider
from tests.support.faults.providers import Receiver, Scheduler, Ses, Sns
from tests.support.faults.servers import Mongod, Valkey
from tests.support.faults.trial import STEP_S, Trial
from tests.support.paths import ROOT

APPS = {name: f"tests.support.faults.apps.{name}.handler" for name in (GATEWAY, DECIDER, ENGAGER)}
VISIBILITY_S = 2  # messages of a dead Engager come back after that; on AWS after three minutes
RECEIVES = 8


class Lab:
    """A running system; a context manager. Trials run one after another.

    poll_seconds: how often functions look for a new ruleset and new targets.
    """

    def __init__(self, folder: Path, poll_seconds: int = 1) -> None:
        self.folder = folder
        self._poll_seconds = poll_seconds
        self.points = folder / "points"
        self._open = ExitStack()
        self._trials = itertools.count(1)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _start(self, stack: ExitStack) -> None:
        self.points.mkdir(parents=True)
        subprocesses = stack.enter_context(Subprocesses(self.folder / "stores", self.folder / "logs", os.environ))
        self.subprocesses = subprocesses
        self.valkey, self.mongod = Valkey(subprocesses), Mongod(subprocesses)
        self.valkey.start()
        self.mongod.start()
        self.mongod.initiate()
        self.ses, self.sns, self.scheduler, self.webhook = Ses(), Sns(), Scheduler(), Receiver()
        self.providers: tuple[Provider, ...] = (self.ses, self.sns, self.scheduler, self.webhook)
        for provider in self.providers:
            stack.enter_context(provider)
        client: pymongo.MongoClient[dict[str, Any]] = stack.enter_context(
            pymongo.MongoClient(self.mongod.url, tz_aware=True, w="majority", socketTimeoutMS=5000)
        )
        self.database = client.opportune
        self._publish()
        self.stack = stack.enter_context(
            Stack(
                state_dir=self.folder / ".opportune",
                redis_url=self.valkey.url,
                mongodb_url=self.mongod.url,
                extra_env=self._env(),
                poll_seconds=self._poll_seconds,
                wake_s=STEP_S,
                functions=functions(),
            )
        )
        self.sqs = aws.client("sqs", self.stack.aws_url)
        self._set_queues(RECEIVES)
        self.http = urllib3.PoolManager(maxsize=16, retries=False, timeout=urllib3.Timeout(connect=2, read=40))

    def _env(self) -> dict[str, str]:
        return {
            "PYTHONPATH": f"{FUNCTIONS_DIR}{os.pathsep}{ROOT}",
            points.FOLDER: str(self.points),
            "AWS_ENDPOINT_URL_SESV2": self.ses.url,
            "AWS_ENDPOINT_URL_SNS": self.sns.url,
            "AWS_ENDPOINT_URL_SCHEDULER": self.scheduler.url,
            "OPPORTUNE_WEBHOOK_SINK": self.webhook.url,
        }

    def _publish(self) -> None:
        versions.make_live(self.database, site.bundle(), seen=0)

    def _set_queues(self, receives: int, visibility_s: int = VISIBILITY_S) -> None:
        for url in (self.stack.queue_url, self.stack.doorbells_url):
            found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])["Attributes"]
            redrive = {**json.loads(found["RedrivePolicy"]), "maxReceiveCount": receives}
            attributes = {"VisibilityTimeout": str(visibility_s), "RedrivePolicy": json.dumps(redrive)}
            self.sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)
        time.sleep(1.2)  # a poll that has begun keeps the earlier attributes

    @contextmanager
    def receives(self, count: int, visibility_s: int = VISIBILITY_S) -> Iterator[None]:
        """Have messages go to the dead-letter queue after *count* receives, *visibility_s* apart, in the ``with``."""
        self._set_queues(count, visibility_s)
        try:
            yield
        finally:
            self._set_queues(RECEIVES)

    @contextmanager
    def trial(self, within_ms: int = 150_000) -> Iterator[Trial]:
        """Run a trial; then end all faults, advance time by *within_ms* at most, and check all invariants."""
        trial = self.begin()
        try:
            yield trial
            trial.close(within_ms)
        finally:
            self.mend()
            for provider in self.providers:
                provider.reset(None)

    def begin(self) -> Trial:
        """Begin a trial; the caller finishes it."""
        number = next(self._trials)
        trial = Trial(self, f"faults-{number}", History(self.folder / f"trial-{number}.ndjson"))
        for provider in self.providers:
            provider.reset(trial.history)
        list(trial.dead_letters())
        return trial

    def dead_letter_urls(self) -> tuple[str, ...]:
        """Return the URLs of the dead-letter queues."""
        return (self.stack.dead_letter_url, self.stack.dead_doorbells_url, self.stack.dead_schedules_url)

    def mend(self) -> None:
        """End all faults: stores run, providers are healthy, no point is armed."""
        for store in (self.valkey, self.mongod):
            store.thaw()
            if not store.child.alive():
                store.start()
        self.mongod.wait_primary()
        points.disarm(self.points)
        self.pause()
        points.move(self.points, 0, DECIDER)
        points.move(self.points, 0, ENGAGER)

    def processes(self, function: str) -> list[processes.Process]:
        """Return the running processes of *function*."""
        found = processes.recorded(self.stack.run_dir)
        return [each for each in found if each.name == f"function {function}" and each.alive()]

    def function(self, name: str) -> LambdaInvoke:
        """Return a function that invokes *name*."""
        return LambdaInvoke(aws.client("lambda", self.stack.lambda_url, read_timeout_s=35), name)

    def refresh(self) -> None:
        """Refresh the targets, as `opportune targets refresh` does."""
        self.function(REFRESHER)(json.dumps({"site": site.SITE}).encode())

    def pause(self, *what: str) -> None:
        """Pause *what* at the site, as `opportune pause` does; nothing: resume."""
        self.database.control.update_one({"_id": site.SITE}, {"$set": {"paused": list(what)}})

    def move_on(self, ms: int) -> None:
        """Advance the functions' clocks by *ms*."""
        points.move(self.points, points.ahead(self.points) + ms)

    def now(self) -> int:
        """Return the functions' time in ms."""
        return points.moved_clock(self.points, "")()


def functions() -> dict[str, Function]:
    """Return the functions of the stack, those of `APPS` in their killable form, with few processes each."""
    known = {name: replace(function, warm=0, max_environments=1) for name, function in FUNCTIONS.items()}
    killable = {name: replace(known[name], handler=APPS[name], warm=1, max_environments=2) for name in APPS}
    return {**known, **killable}
