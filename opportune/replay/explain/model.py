"""What an explanation of one user's events consists of; the same for people and, as JSON, for programs."""

import msgspec


class Progress(msgspec.Struct):
    """How far an event got: ``reached`` of ``of`` events of a match."""

    reached: int
    of: int
    text: str


class Match(msgspec.Struct):
    """A match of the user, from its first event ``since`` to ``at`` (ms). ``gate``: what would have stopped it live."""

    at: int
    since: int
    per: str | None
    reason: str
    message_ids: list[str]
    gate: str | None = None


class Entry(msgspec.Struct):
    """What happened at one time (ms), to one campaign; ``event`` is ``None`` where a deadline passed.

    ``status``: ``applied``, ``duplicate``, ``irrelevant`` (means nothing to the campaign), ``no_run`` (an
    attribute of ``per`` is missing) or ``deadline``. ``late_ms``: how much newer an event before it in the
    file is.
    """

    at: int
    status: str
    event: str | None = None
    shown: str = ""
    message_id: str | None = None
    place: str | None = None
    late_ms: int = 0
    per: str | None = None
    roles: list[str] = []
    effects: list[str] = []
    progress: Progress | None = None
    fired: Match | None = None
    why_not: str | None = None


class Explained(msgspec.Struct):
    """One campaign: its trigger and the end of the story in words, and the story."""

    campaign: str
    name: str
    trigger: str
    matches: int
    verdict: str
    events: list[Entry]
