"""The parts of an explanation. Tables and JSON are both made from them."""

import msgspec


class Progress(msgspec.Struct):
    """How far a run is: ``reached`` of the ``of`` events that a match needs, and the same in words."""

    reached: int
    of: int
    text: str


class ExplainedMatch(msgspec.Struct):
    """A match, from its first event (``since``) to its completion (``at``), in ms.

    ``gate``: the gate that would have stopped it live.
    """

    at: int
    since: int
    per: str | None
    reason: str
    message_ids: list[str]
    gate: str | None = None


class Entry(msgspec.Struct):
    """One event, or one deadline that passed (``event`` is ``None``), in one campaign. ``at`` is in ms.

    ``status``: ``applied``, ``duplicate``, ``irrelevant`` (the campaign does not use the event), ``no_run`` (an
    attribute of ``per`` is missing) or ``deadline``.
    ``late_ms``: how much newer the newest earlier event in the file is.
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
    fired: ExplainedMatch | None = None
    why_not: str | None = None


class Explained(msgspec.Struct):
    """The events of one user in one campaign, with the trigger and the outcome in words."""

    campaign: str
    name: str
    trigger: str
    matches: int
    verdict: str
    events: list[Entry]
