"""The ruleset: all live campaigns of a site, compiled, versioned and immutable.

Campaign files are for people; this is what the functions read. It lies in MongoDB as one document
of the collection ``rulesets`` and is decoded once per version by each function.
"""

from typing import Any

import msgspec

from shared.contracts import WriteKey

Program = dict[str, Any]


class Matcher(msgspec.Struct, omit_defaults=True):
    """A test of one event: its name is in ``events`` and its attributes meet ``where``.

    ``bits``: the sum of the weights (powers of two) that ``machine.lua`` gives a meaning to.
    """

    events: list[str]
    bits: int
    where: dict[str, Any] = {}


class Trigger(msgspec.Struct, omit_defaults=True):
    """A compiled trigger.

    ``key``: eight characters that change whenever the pattern does; names the state in Redis.
    ``program``: what ``machine.lua`` runs. ``horizon``: ms after which its state means nothing.
    """

    key: str
    program: Program
    matchers: list[Matcher]
    horizon: int
    per: list[str] = []


class Campaign(msgspec.Struct, omit_defaults=True):
    """A compiled campaign. ``version`` changes with anything in it; ``everyone`` needs no targets.

    ``reads``: attributes of the completing event that the content uses.
    """

    id: str
    version: str
    name: str
    trigger: Trigger
    channel: str
    content: dict[str, Any]
    everyone: bool = False
    groups: list[str] = []
    reads: list[str] = []


class Sender(msgspec.Struct, omit_defaults=True):
    """The sender identity of e-mails: ``address`` verified in SES, shown as ``name``."""

    address: str
    name: str = ""


class Ruleset(msgspec.Struct, omit_defaults=True):
    """All live campaigns of ``site``, version ``version`` (1, 2, 3 …)."""

    site: str
    version: int
    keys: list[WriteKey]
    campaigns: list[Campaign]
    sender: Sender | None = None
    format: int = 1
