"""Run the whole system on this machine: data stores, AWS stand-ins, functions and HTTP endpoint."""

import contextlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from opportune.local import accepted, aws, decision_feed, mongod, outbox_page, valkey
from opportune.local.accepted import Accepted
from opportune.local.api_gateway import ApiGateway
from opportune.local.environments import Function, Pool, StartEnvironment, WorkerEnvironment
from opportune.local.event_sources import EventSources
from opportune.local.functions import FUNCTIONS, function_environment, pools, settings
from opportune.local.lambda_endpoint import LambdaEndpoint
from opportune.local.webhook_sink import WebhookSink
from opportune.system import state_file
from opportune.system.errors import LocalStackError
from opportune.system.signals import sigterm_as_exit
from opportune.system.state_file import StackUrls
from opportune.system.subprocesses import Subprocesses, sweep_dead_runs
from shared import clock
from shared.channels import Outbound
from shared.settings import GATEWAY, PREFERENCES

State = Literal["starting", "ready", "failed", "cleaned up", "stopped"]
Progress = Callable[[str, State], None]
T = TypeVar("T")


def _no_progress(label: str, state: State) -> None:
    """Ignore the progress."""


class Stack(StackUrls):
    """Start everything on entry and stop everything on exit; `start` and `stop` do the same.

    state_dir: holds the state file, the data of the run and the logs
    port: of the HTTP endpoint; None for any free one
    demo_dir: folder that is served below ``/demo/``
    extra_env: variables for every function
    redis_url, mongodb_url: use these servers and start none
    poll_seconds: how often functions look for a new ruleset
    wake_s: seconds between wakes
    speed: how many times as fast as the wall clock the functions' clock runs, from now on; see `clock`
    keys: write keys by the variable that definitions name, for other commands to find
    ses_identities: addresses and domains that may send e-mails
    environments: starts an execution environment
    progress: called with ``(label, state)``, from any thread but never from two at the same time

    Raise `LocalStackError` if a part does not start, the port is in use, or a stack already runs in *state_dir*.
    """

    def __init__(
        self,
        *,
        state_dir: Path = Path(".opportune"),
        port: int | None = None,
        demo_dir: Path | None = None,
        extra_env: Mapping[str, str] | None = None,
        redis_url: str | None = None,
        mongodb_url: str | None = None,
        poll_seconds: int = 1,
        wake_s: float = 1.0,
        speed: float = 1.0,
        keys: Mapping[str, str] | None = None,
        ses_identities: Iterable[str] = ("example.com",),
        functions: Mapping[str, Function] = FUNCTIONS,
        environments: StartEnvironment = WorkerEnvironment.start,
        progress: Progress = _no_progress,
    ) -> None:
        self.state_dir = state_dir.resolve()
        self.run_dir = self.state_dir / f"run-{os.getpid()}"
        self.logs_dir = self.state_dir / "logs"
        self.speed = speed
        self._clock_text = "" if speed == 1 else f"{clock.now_ms()},{speed:g}"
        self.clock = clock.parse_clock(self._clock_text) if self._clock_text else clock.now_ms
        self._port = port
        self._demo_dir = demo_dir
        self._extra_env = dict(extra_env or {})
        self._given_redis_url = redis_url
        self._given_mongodb_url = mongodb_url
        self._poll_seconds = poll_seconds
        self._wake_s = wake_s
        self._keys = dict(keys or {})
        # New secrets for each run.
        self.identity_secret, self.signing_secret = secrets.token_urlsafe(48), secrets.token_urlsafe(48)
        self._ses_identities = tuple(ses_identities)
        self._functions = functions
        self._environments = environments
        self._progress = progress
        self._progress_lock = threading.Lock()
        self._stop_lock = threading.RLock()
        self._claimed = False
        self._subprocesses: Subprocesses | None = None
        self._pools: dict[str, Pool] = {}
        self._lambda: LambdaEndpoint | None = None
        self._http: ApiGateway | None = None
        self._sink: WebhookSink | None = None
        self._sources: EventSources | None = None
        self._signals = contextlib.ExitStack()

    def start(self) -> None:
        """Start all parts and return when the endpoint is ready. After a failure, stop everything again."""
        dead = state_file.claim(self.state_dir)
        self._claimed = True
        try:
            for line in filter(None, [dead, *sweep_dead_runs(self.state_dir)]):
                self._report(line, "cleaned up")
            shutil.rmtree(self.logs_dir, ignore_errors=True)
            self._start_parts(Subprocesses(self.run_dir, self.logs_dir, os.environ))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all parts and delete the run's data, but keep the logs. May be called repeatedly."""
        with self._stop_lock:
            for part in (self._sources, self._http, self._lambda, self._sink, *self._pools.values()):
                if part is not None:
                    part.stop()
            if self._subprocesses is not None:
                self._subprocesses.stop()
            if self._sources is not None:
                self._sources.join(2.0)
            if self._claimed:
                shutil.rmtree(self.run_dir, ignore_errors=True)
                state_file.release(self.state_dir)
                self._claimed = False
                self._report("local stack", "stopped")

    def drain(self, timeout_s: float = 2.5 * aws.VISIBILITY_TIMEOUT_S) -> None:
        """Wait until all deliveries, doorbells and asynchronous invocations are done, except delayed messages.

        Raise `LocalStackError` after *timeout_s* seconds. The default leaves time for two retries.
        """
        if self._sources is None:
            raise LocalStackError("the local stack is not running")
        self._sources.drain(timeout_s)

    def outbox(self) -> list[aws.Mail]:
        """Return the e-mails that SES accepted; see `opportune.local.aws.outbox`."""
        return aws.outbox(self.aws_url)

    def accepted(self, channel: Outbound | None = None) -> list[Accepted]:
        """Return the accepted messages of all channels, or of one, oldest first; of webhooks only the last 200."""
        sink = self._sink.accepted() if self._sink is not None else []
        found = [each for each in (*accepted.fetch(self.aws_url), *sink) if channel in (None, each.channel)]
        return sorted(found, key=lambda each: each.at)

    def push_endpoint(self, token: str) -> str:
        """Return the ARN of the push endpoint of the device with *token*."""
        return aws.push_endpoint(self.aws_url, token)

    def __enter__(self) -> Self:
        self._signals.enter_context(sigterm_as_exit())
        try:
            self.start()
        except BaseException:
            self._signals.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self._signals.close()

    def _start_parts(self, subprocesses: Subprocesses) -> None:
        self._subprocesses = subprocesses
        # Open the ports first, so that a port in use is reported before anything slow starts.
        feed = decision_feed.DecisionFeed()
        self._lambda = LambdaEndpoint(self._pools, feed.observe_invocation)
        self.lambda_url = self._lambda.url
        self._sink = WebhookSink(self.clock)
        self._http = ApiGateway(
            lambda payload: feed.invoke_gateway(payload, self._pools[GATEWAY].invoke),
            port=self._port,
            demo_dir=self._demo_dir,
            functions={"/unsubscribe": self._preferences},
            pages={
                **outbox_page.pages(self.accepted, speed=self.speed),
                **decision_feed.pages(feed, self._pools, lambda: self.mongodb_url, self.clock),
            },
        )
        self.http_url = self._http.url
        with ThreadPoolExecutor(max_workers=8) as executor:
            resources = executor.submit(self._reported, "AWS stand-ins", self._start_aws)
            redis_url = executor.submit(
                self._reported, "Valkey", lambda: valkey.start(subprocesses, url=self._given_redis_url)
            )
            mongodb_url = executor.submit(
                self._reported, "MongoDB", lambda: mongod.start(subprocesses, url=self._given_mongodb_url)
            )
            self._wait_for_all([resources, redis_url, mongodb_url])
            made = resources.result()
            self.redis_url, self.mongodb_url = redis_url.result(), mongodb_url.result()
            self.queue_url, self.dead_letter_url = made.queue_url, made.dead_letter_url
            self.doorbells_url, self.dead_doorbells_url = made.doorbells_url, made.dead_doorbells_url
            self.dead_schedules_url = made.dead_schedules_url
            self._pools.update(self._make_pools(subprocesses, made))
            self._lambda.start()
            self._sink.start()
            warm = [(name, pool) for name, pool in self._pools.items() if pool.function.warm]
            self._wait_for_all(
                [executor.submit(self._reported, f"function {name}", pool.warm_up) for name, pool in warm]
            )
        self._sources = EventSources(
            made, self._pools, self._lambda, aws_url=self.aws_url, clock=self.clock, every_s=self._wake_s
        )
        self._sources.start()
        self._http.start()
        state_file.publish(self.state_dir, self._state())
        self._report("HTTP endpoint", "ready")

    def _start_aws(self) -> aws.Resources:
        self.aws_url = aws.start(self._running_subprocesses(), self._clock_text)
        return aws.create_resources(self.aws_url, self._ses_identities)

    def _make_pools(self, subprocesses: Subprocesses, made: aws.Resources) -> dict[str, Pool]:
        given = settings(
            made,
            signing_secret=self.signing_secret,
            redis_url=self.redis_url,
            mongodb_url=self.mongodb_url,
            http_url=self.http_url,
            webhook_sink=self._sink.url if self._sink is not None else "",
            identity_secret=self.identity_secret,
            poll_seconds=self._poll_seconds,
            clock_text=self._clock_text,
            speed=self.speed,
        )
        variables = partial(
            function_environment,
            settings=given,
            aws_url=self.aws_url,
            lambda_url=self.lambda_url,
            extra=self._extra_env,
        )
        return pools(self._functions, subprocesses, variables, self._environments)

    def _preferences(self, payload: bytes) -> Any:
        if PREFERENCES not in self._pools:
            raise LocalStackError(f"this local stack has no function {PREFERENCES}")
        return self._pools[PREFERENCES].invoke(payload)

    def _running_subprocesses(self) -> Subprocesses:
        if self._subprocesses is None:
            raise LocalStackError("the local stack is not running")
        return self._subprocesses

    def _reported(self, label: str, start: Callable[[], T]) -> T:
        """Return the result of *start*, and report its progress."""
        self._report(label, "starting")
        try:
            result = start()
        except BaseException:
            self._report(label, "failed")
            raise
        self._report(label, "ready")
        return result

    def _wait_for_all(self, futures: list[Future[Any]]) -> None:
        """Wait for all *futures*. At the first failure stop the subprocesses, so that the other futures end too."""
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            self._running_subprocesses().stop()
            raise

    def _report(self, label: str, state: State) -> None:
        with self._progress_lock:
            self._progress(label, state)

    def _state(self) -> dict[str, Any]:
        """Return the content of the state file."""
        return {
            **self.urls(),
            "run_dir": str(self.run_dir),
            "logs_dir": str(self.logs_dir),
            "keys": self._keys,
            "clock": self._clock_text,
            "identity_secret": self.identity_secret,
            "signing_secret": self.signing_secret,
        }
