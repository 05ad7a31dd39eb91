"""Turn a firing into the activation or conversion that the Engager gets.

Everything that an activation says is stored in the firing. So it is the same for every caller that hands it over: the
call that decided it, a repetition of that call, or the wake that finds it unacknowledged.
"""

import hashlib
from typing import Any

import msgspec

from decider.keys import message_digest
from decider.note_size import MAX_NOTE_BYTES, shorten
from decider.store import Unreadable
from decider.user_state import Firing
from shared.contracts import Activation, Conversion, Event
from shared.ruleset import Campaign


class Note(msgspec.Struct, array_like=True):
    """What a match keeps of the event that completed it.

    ``attributes``: only those that the content uses, shortened to 2 KB.
    """

    event: str
    message_id: str
    at: int
    received: int
    history: bool
    attributes: dict[str, Any]


class Reference(msgspec.Struct, array_like=True):
    """What a firing says about its campaign: ``ref``. ``trigger`` is the trigger's key."""

    campaign: str
    ruleset: int
    channel: str
    trigger: str


_encode_note = msgspec.json.Encoder().encode
_decode_note = msgspec.json.Decoder(Note).decode


def reference(campaign: Campaign, ruleset: int) -> list[Any]:
    """Return the fields of `Reference` for *campaign* in version *ruleset*."""
    return [campaign.id, ruleset, campaign.channel, campaign.trigger.key]


def write_note(note: Note) -> str:
    """Return *note* as the text that the row stores, with its attributes shortened if they are too large."""
    text = _encode_note(note)
    if len(text) > MAX_NOTE_BYTES:
        text = _encode_note(msgspec.structs.replace(note, attributes=shorten(note.attributes)))
    return text.decode()


def activation(firing: Firing, *, answerable: bool) -> Activation:
    """Return the activation of *firing*. *answerable*: a popup can still be shown with a response.

    Raises `Unreadable` if the stored note cannot be read.
    """
    campaign, ruleset, channel, _ = firing.ref
    site, user, *_ = _names(firing)
    try:
        note = _decode_note(firing.note)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"note of a match: {type(error).__name__}") from error
    # A popup that is offered until it is seen gets further responses.
    unanswered = "unanswered" if channel == "popup" and not answerable and not firing.expires else None
    return Activation(
        id=_id(firing),
        site=site,
        user=user,
        campaign=campaign,
        ruleset=ruleset,
        channel=channel,
        at=firing.at,
        event=note.event,
        message_id=note.message_id,
        attributes=note.attributes,
        per=firing.per or None,
        suppressed=firing.gate or unanswered,
        due=firing.due,
    )


def conversion(firing: Firing) -> Conversion:
    """Return the conversion of a firing whose reason is ``goal``."""
    return Conversion(_id(firing), firing.at, calls_back=bool(firing.gate))


def received(firing: Firing) -> int:
    """Return when (ms) the event of *firing* was received; 0 if its note cannot be read."""
    try:
        return _decode_note(firing.note).received
    except msgspec.MsgspecError:
        return 0  # handing it over will report that


def _names(firing: Firing) -> list[str]:
    return msgspec.json.decode(firing.key, type=list[str])


def _id(firing: Firing) -> str:
    """Return the id of the activation that *firing* is, or is about.

    If the user was a visitor when it matched, the visitor's id is the last of the key's names and counts.
    """
    site, user, trigger, per, last, *more = _names(firing)
    return activation_id(site, more[1] if len(more) > 1 else user, f"{trigger}{per}", last)


def offer_id(site: str, event: Event, campaign: Campaign, per: str) -> str:
    """Return the id that the activation of *campaign* gets if *event* completes its match."""
    last = message_digest(event.message_id).hex()
    return activation_id(site, event.user, f"{campaign.trigger.key}{per}", last)


def activation_id(site: str, user: str, trigger: str, last: str) -> str:
    """Return the id of an activation: 32 hex digits, always the same for the same match.

    *trigger*: the key of the trigger, then the run. *last*: the digest of the completing event, or the deadline.
    The campaign's version is not part of it: an absence that falls due while new content is published is the same
    absence under either version.
    """
    text = f"{site}\0{user}\0{trigger}\0{last}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
