"""The Lua scripts, composed: those that are pure are the prologue of those that call Redis.

A script has only those that it uses: a prologue runs with each call, and takes some 2 µs for a module.
"""

import hashlib
import re
from pathlib import Path

PURE = ("machine", "gates", "rate", "offers", "cancels", "merge")  # in this order: later ones use earlier ones
_LUA = Path(__file__).parent / "lua"


def source(name: str) -> str:
    """Return the text of a Lua file."""
    return (_LUA / name).read_text("utf-8")


class Script:
    """A script as Redis runs it: ``text`` and its ``sha``. ``keys``: how many it declares."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys = int(name.removesuffix(".lua").rsplit("-", 1)[1])
        self.text = source(name)
        for pure in reversed(PURE):
            if re.search(rf"\b{pure}\.(?!lua\b)\w", self.text):
                self.text = f"local {pure} = (function()\n{source(f'{pure}.lua')}\nend)()\n{self.text}"
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
