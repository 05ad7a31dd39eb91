"""One trial on the running system: users, posted events, results, and the final check."""

import itertools
import json
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import urllib3

from decider import keys
from shared.signing import pseudonym
from tests.support.faults import points, site
from tests.support.faults.history import (
    Backlog,
    Called,
    Dead,
    Expected,
    History,
    Killed,
    Posted,
    Record,
    Remains,
    Revoked,
    Row,
)
from tests.support.faults.invariants import TEXT, Violation, check

if TYPE_CHECKING:
    from tests.support.faults.bells import Bells
    from tests.support.faults.system import Lab

STEP_MS = 10_000
STEP_S = 0.4
PAUSE_S = 0.2
LOOKS = 4
MAX_STEPS = 60
SETTLE_TIMEOUT_S = 8


class Trial:
    """One trial: its users, the posted events, and the results."""

    def __init__(self, lab: "Lab", name: str, history: History) -> None:
        self.lab = lab
        self.name = name
        self.history = history
        self._mine = {"user": {"$regex": f"^(anon:)?{re.escape(name)}-"}}
        self._messages = itertools.count(1)
        self._users: list[str] = []
        self._visitors: list[str] = []
        self._expected: set[tuple[str, str]] = set()
        self.drained_ms = 0
        self.settle_s: float = SETTLE_TIMEOUT_S
        self.bells: Bells | None = None
        self._noted = len(points.reached(lab.points))

    def users(self, count: int) -> list[str]:
        """Make *count* more customers and return them."""
        made = [f"{self.name}-{len(self._users) + n}" for n in range(count)]
        self._users += made
        self.lab.database.customers.insert_many([site.customer(user) for user in made])
        return made

    def visitor(self) -> str:
        """Return the anonymous id of a new visitor."""
        name = f"{self.name}-v{len(self._visitors)}"
        self._visitors.append(f"anon:{name}")
        return name

    def pseudonym(self, user: str) -> str:
        """Return the pseudonym that a forgotten *user* has in the ledger."""
        return pseudonym(self.lab.stack.signing_secret, site.SITE, user)

    def user(self) -> str:
        """Make one more customer and return the user id."""
        return self.users(1)[0]

    def post(
        self,
        user: str,
        event: str,
        *,
        message_id: str = "",
        matches: Sequence[str] = (),
        visitor: str = "",
        **properties: str,
    ) -> dict[str, Any]:
        """Post an event once; return the response.

        *matches*: the campaigns that it completes a match of.
        *visitor*: send it as this visitor, who becomes *user* later.
        """
        name = message_id or self.message_id()
        for campaign in matches:
            if (name, campaign) not in self._expected:
                self._expected.add((name, campaign))
                self.history.add(Expected(name, user, campaign))
        who = {"anonymousId": visitor} if visitor else {"userId": user}
        return self._post(
            user, name, {"type": "track", "event": event, **who, "properties": {"ref": name, **properties}}
        )

    def log_in(self, visitor: str, user: str, tries: int = 500) -> None:
        """Make *visitor* the user *user*; repeat the call until it is accepted."""
        name = self.message_id()
        body = {"type": "identify", "userId": user, "anonymousId": visitor}
        for _ in range(tries):
            if self._post(user, name, body)["status"] == 200:
                return
            time.sleep(PAUSE_S)
        raise AssertionError(f"{name} was not taken")

    def _post(self, user: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        began = time.monotonic()
        status, answer = self._send({"messageId": name, "writeKey": site.KEY, **body})
        popups = tuple(message["id"] for message in answer.get("messages", []))
        taken = Posted(name, user, status, answer.get("code", ""), time.monotonic() - began, popups, time.time())
        self.history.add(taken)
        return {"status": status, **answer}

    def insist(
        self, user: str, event: str, *, matches: Sequence[str] = (), tries: int = 40, visitor: str = ""
    ) -> dict[str, Any]:
        """Post an event as trackers do: repeat it with the same message id until it is accepted.

        Return the response, with ``messageId``.
        """
        name = self.message_id()
        for _ in range(tries):
            answer = self.post(user, event, message_id=name, matches=matches, visitor=visitor)
            if answer["status"] == 200:
                return {**answer, "messageId": name}
            time.sleep(PAUSE_S)
        raise AssertionError(f"{name} was not taken: {answer}")

    def message_id(self) -> str:
        """Return a new one."""
        return f"{self.name}-m{next(self._messages)}"

    def _send(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        url = f"{self.lab.stack.http_url}/v1/track"
        try:
            response = self.lab.http.request("POST", url, body=json.dumps(body), headers={"Content-Type": "text/plain"})
        except urllib3.exceptions.HTTPError as error:
            return 0, {"code": type(error).__name__}
        answer: dict[str, Any] = json.loads(response.data)
        return response.status, answer

    def arm(self, point: str) -> None:
        """Kill the next process that reaches *point*."""
        points.arm(self.lab.points, point)

    def wait_killed(self, count: int = 1, timeout_s: float = 20) -> None:
        """Wait until *count* processes of this trial have died at their points; record them."""
        wait_for(lambda: len(points.reached(self.lab.points)) >= self._noted + count, timeout_s)
        self._note_killed()

    def _note_killed(self) -> None:
        fresh = points.reached(self.lab.points)[self._noted :]
        self._noted += len(fresh)
        for point in fresh:
            function, _, where = point.partition(".")
            self.history.add(Killed(function, where))

    def kill(self, function: str) -> None:
        """Kill all processes of *function*."""
        self.history.add(Killed(function, "anywhere"))
        for process in self.lab.processes(function):
            process.send(signal.SIGKILL)

    def posted(self) -> list[Posted]:
        """Return the requests that were made, in order."""
        return self.history.of(Posted)

    def accepted(self, provider: str) -> list[str]:
        """Return the activations that *provider* has accepted, in order."""
        return [call.activation for call in self.history.of(Called) if call.provider == provider and call.accepted]

    def revoked(
        self, what: str, user: str, *, channel: str = "", activation: str = "", message_id: str = "", slack_s: float = 0
    ) -> None:
        """Record that from now on (plus *slack_s*) *user* must get nothing more of it."""
        name = self.pseudonym(user) if what == "forget" else ""
        self.history.add(Revoked(what, user, time.time() + slack_s, channel, activation, message_id, name))

    def rows(self) -> list[Row]:
        """Return this trial's rows of the ledger."""
        called = [call.activation for call in self.history.of(Called)]
        forgotten = {each.pseudonym for each in self.history.of(Revoked) if each.pseudonym}
        whose = [self._mine, {"_id": {"$in": called}}, {"user": {"$in": sorted(forgotten)}}]
        found = self.lab.database.activations.find({"$or": whose})
        return [
            Row(
                activation=row["_id"],
                user=row["user"],
                campaign=row["campaign"],
                channel=row["channel"],
                message_id=row.get("message_id", ""),
                state=row["state"],
                reason=row.get("reason") or "",
                at=int(row["at"].timestamp() * 1000),
            )
            for row in found
        ]

    def states(self) -> list[tuple[str, str]]:
        """Return state and reason of each row, sorted."""
        return sorted((row.state, row.reason) for row in self.rows())

    def wait_row(self, state: str, count: int = 1, timeout_s: float = 20) -> None:
        """Wait until *count* rows are in *state*."""
        wait_for(lambda: sum(row.state == state for row in self.rows()) >= count, timeout_s)

    def backlog(self) -> Backlog:
        """Return the work that is left for this trial's users, and in the queues."""
        timers, unacknowledged = self._waiting()
        count = self.lab.database.activations.count_documents
        return Backlog(
            timers=timers,
            unacknowledged=unacknowledged,
            queued=sum(self._queued(url) for url in (self.lab.stack.queue_url, self.lab.stack.doorbells_url))
            + (self.bells.pending() if self.bells else 0),
            held=count({**self._mine, "state": "held"}),
            unsettled=count({**self._mine, "state": "sending"}),
        )

    def _waiting(self) -> tuple[int, int]:
        """Return how many timers, and how many unacknowledged activations, name users of this trial."""
        numbers = sorted({keys.partition(site.SITE, user) for user in [*self._users, *self._visitors]})
        pipeline = self.lab.valkey.client.pipeline(transaction=False)
        for number in numbers:
            pipeline.zrange(keys.timers(number), 0, -1)
        for number in numbers:
            pipeline.hkeys(keys.unacknowledged(number))
        found = pipeline.execute()
        mine = f"{self.name}-".encode()
        timers = sum(mine in member for members in found[: len(numbers)] for member in members)
        return timers, sum(mine in member for members in found[len(numbers) :] for member in members)

    def _queued(self, url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        counts = self.lab.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(counts[name]) for name in names)

    def dead_letters(self) -> Iterator[Dead]:
        """Receive the messages of the dead-letter queues."""
        sqs = self.lab.sqs
        for url in self.lab.dead_letter_urls():
            while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
                for message in messages:
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                    yield dead_letter(url, message["Body"])

    def remains(self) -> Iterator[Remains]:
        """Yield what the stores have of forgotten users."""
        forgotten = [each.user for each in self.history.of(Revoked) if each.what == "forget"]
        stores = {"MongoDB": mongodb_text, "the state store": redis_text} if forgotten else {}
        for where, read in stores.items():
            named = set(re.findall(r"[\w-]+", read(self.lab)))
            yield from (Remains(user, where) for user in forgotten if user in named)

    def close(self, within_ms: int) -> None:
        """End the faults, advance time by *within_ms* at most, and check the history."""
        violations = self.finish(within_ms)
        assert not violations, "\n".join(
            [f"{each.invariant}: {each.what}" for each in violations] + [f"history: {self.history.path}"]
        )

    def settle(self) -> None:
        """Wait until the queue of deliveries is empty, without moving the clocks: what waits there is not late."""
        for provider in self.lab.providers:
            provider.mend()
        wait_for(lambda: self._queued(self.lab.stack.queue_url) == 0, self.settle_s, patient=True)

    def finish(self, within_ms: int) -> list[Violation]:
        """Do the same, and return the violations."""
        self.lab.mend()
        for provider in self.lab.providers:
            provider.mend()
        self.drained_ms = self.drain(within_ms)
        self._note_killed()
        dead = [*self.dead_letters()]
        records: list[Record] = [self.backlog(), *self.rows(), *dead, *self.remains(), *site.LIMITS]
        for record in records:
            self.history.add(record)
        return check([*map(self._named, self.history.records)])

    def _named(self, record: Record) -> Record:
        """Return *record* with its activation, if the provider only saw the message."""
        if not isinstance(record, Called) or not record.activation.startswith(TEXT):
            return record
        found = [row.activation for row in self.rows() if TEXT + row.message_id == record.activation]
        return replace(record, activation=found[0] if found else record.activation)

    def drain(self, within_ms: int) -> int:
        """Advance time, at most by *within_ms*, until no work is left; return the time it took, in ms."""
        nothing = Backlog(0, 0, 0, 0, 0)
        step = max(STEP_MS, within_ms // MAX_STEPS)
        for passed in range(0, within_ms, step):
            if self._settled(nothing):
                return passed
            self.lab.move_on(step)
        wait_for(lambda: self._settled(nothing), self.settle_s, patient=True)
        return within_ms

    def _settled(self, nothing: Backlog) -> bool:
        """Give the functions a moment; return whether no work is left.

        A message on its way back into its queue is in neither count for an instant, so one look is not enough.
        """
        deadline = time.monotonic() + 2 * STEP_S
        calm = 0
        while calm < LOOKS and time.monotonic() < deadline:
            calm = calm + 1 if self.backlog() == nothing else 0
            time.sleep(0.05)
        return calm == LOOKS


def mongodb_text(lab: "Lab") -> str:
    """Return all data in MongoDB."""
    names = lab.database.list_collection_names()
    return "".join(repr(row) for name in names for row in lab.database[name].find({}))


def redis_text(lab: "Lab") -> str:
    """Return all data in Valkey."""
    client: Any = lab.valkey.client
    read = {b"hash": client.hgetall, b"zset": lambda key: client.zrange(key, 0, -1), b"string": client.get}
    return "".join(repr((key, read[client.type(key)](key))) for key in client.scan_iter())


def dead_letter(url: str, text: str) -> Dead:
    """Return the record of a message with *text* in the dead-letter queue *url*."""
    body: dict[str, Any] = {}
    with suppress(ValueError, RecursionError):
        read = json.loads(text)
        body = read if isinstance(read, dict) else {}
    known = body.get("lost", body)
    return Dead(
        queue=url.rpartition("/")[2],
        activation=str(known.get("id", "")),
        message_id=str(known.get("message_id", "")),
        campaign=str(known.get("campaign", "")),
    )


def wait_for(happened: Callable[[], bool], timeout_s: float, *, patient: bool = False) -> None:
    """Wait until *happened* is true; fail after *timeout_s*, unless *patient*."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > deadline:
            assert patient, f"did not happen within {timeout_s} s"
            return
        time.sleep(0.05)
