"""The Lua scripts, composed: ``machine.lua`` is the prologue of the scripts that move the machine."""

import hashlib
from pathlib import Path

_LUA = Path(__file__).parent / "lua"


def source(name: str) -> str:
    """Return the text of a Lua file."""
    return (_LUA / name).read_text("utf-8")


class Script:
    """A script as Redis runs it: ``text`` and its ``sha``. ``keys``: how many it declares."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys = int(name.removesuffix(".lua").rsplit("-", 1)[1])
        self.text = f"local machine = (function()\n{source('machine.lua')}\nend)()\n{source(name)}"
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
