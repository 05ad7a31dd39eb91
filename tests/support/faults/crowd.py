"""The users of a random run: each lives a short life of events, and repeats each event until it is accepted."""

import random
import threading
import time
from collections.abc import Callable

from pymongo.errors import PyMongoError

from opportune.operations import forget
from opportune.system.functions import Queues
from shared.errors import OpportuneError
from shared.optouts import OptOuts
from shared.settings import DECIDER, ENGAGER
from tests.support.faults import site
from tests.support.faults.trial import Trial

EVENTS_PER_USER = 12
PAUSE_S = 0.05
TRIES = 500
# event -> the campaign that every such event matches, or None: see `Lane.post`
TRAFFIC = {
    "greet": "popup",
    "pay": "mail",
    "win": None,
    "often": "limited",
    "text": "sms",
    "hook": "webhook",
    "ping": "push",
    "cart": "delayed",
    "trial": "late",
    "wish": "lost",
    "order": None,
    "vip": "vip",
    "vip later": "vip-late",
}
OF_TARGETS = ("vip", "vip later")
CANCELLABLE = ("cart", "trial", "wish")
TARGETS = 40
FORGET_TRIES = 40
IN_PROGRESS_S = 5.0  # the Engager has looked for opt-outs, but has not called the provider yet


class Lane:
    """Posts one event after another, for one user at a time."""

    def __init__(self, trial: Trial, seed: int, events: list[str], targets: list[str]) -> None:
        self._trial = trial
        self._random = random.Random(seed)
        self._events = [event for event in events if event not in OF_TARGETS]
        self._of_targets = [event for event in events if event in OF_TARGETS]
        self._targets = targets
        self._lives: list[Callable[[], None]] = [self._buy, self._buy, self._opt_out, self._be_forgotten, self._log_in]
        self._lives += [self._be_target] if self._of_targets else []
        self._wins = 0
        self._cancellable: list[str] = []
        self.failure: Exception | None = None
        self.stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._forgetting: list[threading.Thread] = []

    def start(self) -> None:
        """Start posting."""
        self._thread.start()

    def join(self) -> None:
        """Stop, and wait until the current event is accepted; raise the error of the thread, if any."""
        self.stop.set()
        for thread in [self._thread, *self._forgetting]:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - raised in `join`
            self.failure = error

    def _run(self) -> None:
        self._guard(self._live)

    def _live(self) -> None:
        while not self.stop.is_set():
            self._wins, self._cancellable = 0, []
            self._random.choice(self._lives)()

    def _post(self, user: str, event: str, visitor: str = "") -> None:
        """Post one event; the third win of a user, the sixth and so on match."""
        self._wins += event == "win"
        campaign = TRAFFIC[event] or ("wins" if event == "win" and self._wins % 3 == 0 else None)
        matches = [campaign] if campaign else []
        answer = self._trial.insist(user, event, matches=matches, tries=TRIES, visitor=visitor)
        if event in CANCELLABLE:
            self._cancellable.append(answer["messageId"])
        if event == "order":
            for message_id in self._cancellable:
                self._trial.revoked("cancel", user, message_id=message_id)
            self._cancellable = []

    def _events_of(self, user: str, count: int) -> None:
        for _ in range(count):
            self._post(user, self._random.choice(self._events))
            if self.stop.wait(self._random.random() * 2 * PAUSE_S):
                return

    def _buy(self) -> None:
        self._events_of(self._trial.user(), EVENTS_PER_USER)

    def _opt_out(self) -> None:
        user = self._trial.user()
        self._events_of(user, EVENTS_PER_USER // 2)
        optouts = OptOuts(self._trial.lab.database.optouts)
        persist(lambda: optouts.add(site.SITE, user, "email", "link"))
        self._trial.revoked("opt-out", user, channel="email", slack_s=IN_PROGRESS_S)
        self._events_of(user, EVENTS_PER_USER // 2)

    def _be_forgotten(self) -> None:
        user = self._trial.user()
        self._events_of(user, EVENTS_PER_USER)
        thread = threading.Thread(target=self._guard, args=(lambda: forgotten(self._trial, user),), daemon=True)
        self._forgetting.append(thread)
        thread.start()

    def _log_in(self) -> None:
        """Win as a visitor, then log in: the wins count for the user, once."""
        user, visitor = self._trial.user(), self._trial.visitor()
        for _ in range(self._random.randint(1, 2)):
            self._post(user, "win", visitor)
        self._trial.log_in(visitor, user, TRIES)
        for _ in range(self._random.randint(3, 5)):
            self._post(user, "win")
        self._events_of(user, EVENTS_PER_USER // 2)

    def _be_target(self) -> None:
        self._post(self._random.choice(self._targets), self._random.choice(self._of_targets))


def persist(work: Callable[[], object]) -> None:
    """Repeat *work* until the stores answer, as an operator does."""
    for attempt in range(FORGET_TRIES):
        try:
            work()
        except (OpportuneError, PyMongoError):
            if attempt == FORGET_TRIES - 1:
                raise
            time.sleep(0.5)
        else:
            return


def forgotten(trial: Trial, user: str) -> None:
    """Forget *user* as `opportune forget` does, until it says that nothing is left."""
    lab = trial.lab
    reach = forget.ForgetPorts(
        decider=lab.function(DECIDER),
        engager=lab.function(ENGAGER),
        dead=Queues(lab.sqs, list(lab.dead_letter_urls())),
        activations=lambda name, who: forget.activations(lab.database, name, who),
    )

    def run() -> None:
        if not forget.forget(site.SITE, user, reach).done:
            raise OpportuneError("something is left")

    persist(run)
    trial.revoked("forget", user)
