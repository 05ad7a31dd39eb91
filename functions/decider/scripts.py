"""The Lua scripts, composed: those that are pure are the prologue of those that call Redis."""

import hashlib
from pathlib import Path

PURE = ("machine", "gates", "rate", "offers", "cancels")
_LUA = Path(__file__).parent / "lua"


def source(name: str) -> str:
    """Return the text of a Lua file."""
    return (_LUA / name).read_text("utf-8")


class Script:
    """A script as Redis runs it: ``text`` and its ``sha``. ``keys``: how many it declares."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys = int(name.removesuffix(".lua").rsplit("-", 1)[1])
        prologue = "".join(f"local {pure} = (function()\n{source(f'{pure}.lua')}\nend)()\n" for pure in PURE)
        self.text = prologue + source(name)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
