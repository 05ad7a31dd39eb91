"""From a fire to an activation: its id, and what was known when the match was completed.

Everything that an activation says stands in the fire, so that it is the same whoever hands it over: the
call that decided it, a repetition of that call, or the wake that finds it unacknowledged.
"""

import hashlib
from typing import Any

import msgspec

from decider.keys import message_digest
from decider.store import Unreadable
from decider.user_state import Firing
from shared.contracts import Activation, Conversion, Event
from shared.ruleset import Campaign


class Note(msgspec.Struct, array_like=True):
    """What a completing event leaves with its match; ``attributes``: those that the content uses."""

    event: str
    message_id: str
    at: int
    received: int
    history: bool
    attributes: dict[str, Any]


_encode_note = msgspec.json.Encoder().encode
_decode_note = msgspec.json.Decoder(Note).decode


def reference(campaign: Campaign, ruleset: int) -> list[Any]:
    """Return what a fire has to say of its campaign: ``ref``, which `activation` reads."""
    return [campaign.id, ruleset, campaign.channel, campaign.trigger.key]


def write_note(note: Note) -> str:
    """Return *note* as the text that the row keeps."""
    return _encode_note(note).decode()


def activation(fire: Firing, *, answerable: bool) -> Activation:
    """Return the activation of *fire*. *answerable*: an answer is on its way that a popup can come back in.

    Raises `Unreadable` where what the row has kept of its event cannot be read.
    """
    campaign, ruleset, channel, _ = fire.ref
    site, user, *_ = _names(fire)
    try:
        note = _decode_note(fire.note)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"note of a match: {type(error).__name__}") from error
    # What is offered until it is seen has other answers to come.
    unanswered = "unanswered" if channel == "popup" and not answerable and not fire.expires else None
    return Activation(
        id=_id(fire),
        site=site,
        user=user,
        campaign=campaign,
        ruleset=ruleset,
        channel=channel,
        at=fire.at,
        event=note.event,
        message_id=note.message_id,
        attributes=note.attributes,
        per=fire.per or None,
        suppressed=fire.gate or unanswered,
        due=fire.due,
    )


def conversion(fire: Firing) -> Conversion:
    """Return which activation has reached its goal, of a fire whose reason is ``goal``."""
    return Conversion(_id(fire), fire.at, calls_back=bool(fire.gate))


def received(fire: Firing) -> int:
    """Return when (ms) the event of *fire* was received; 0 where that cannot be read: who hands it over will say so."""
    try:
        return _decode_note(fire.note).received
    except msgspec.MsgspecError:
        return 0


def _names(fire: Firing) -> list[str]:
    return msgspec.json.decode(fire.key, type=list[str])


def _id(fire: Firing) -> str:
    """Return the id of the activation that *fire* is, or is about: it may have been that of the visitor he was."""
    site, user, trigger, per, last, *more = _names(fire)
    return activation_id(site, more[1] if len(more) > 1 else user, f"{trigger}{per}", last)


def offer_id(site: str, event: Event, campaign: Campaign, per: str) -> str:
    """Return the id that the activation of *campaign* has, if *event* completes its match."""
    last = message_digest(event.message_id).hex()
    return activation_id(site, event.user, f"{campaign.trigger.key}{per}", last)


def activation_id(site: str, user: str, trigger: str, last: str) -> str:
    """Return the id of an activation: 32 hex digits, the same for the same match, whoever computes it.

    *trigger* is the key of its trigger and run, *last* stands for the completing event, or is the deadline. The
    campaign's version is no part of it: an absence that falls due while new content is being published is the
    same absence, by whichever version it is noticed first.
    """
    text = f"{site}\0{user}\0{trigger}\0{last}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
