"""Load the Lua scripts and the modules that they include.

A script names each module it needs in a line ``--- @include gates``. The module's text, from ``lua/include/``, becomes
a local of that name above the script. Redis runs it on every call, at about 2 µs a module: include only what is used.
Modules are pure; one module sees those included before it.
"""

import hashlib
import re
from pathlib import Path

_LUA = Path(__file__).parent / "lua"
_INCLUDE = re.compile(r"^--- @include (\w+)$", re.MULTILINE)


def source(name: str) -> str:
    """Return the text of a script such as ``inspect-user-1.lua``, as it is written."""
    return (_LUA / name).read_text("utf-8")


def module(name: str) -> str:
    """Return the text of a module in ``lua/include/``, such as ``machine``."""
    return source(f"include/{name}.lua")


def included(name: str) -> list[str]:
    """Return the modules that a script includes, in order."""
    return _INCLUDE.findall(source(name))


class Script:
    """A script as Redis runs it: its ``text`` with all modules, its ``sha``, and how many ``keys`` it declares."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys = int(name.removesuffix(".lua").rsplit("-", 1)[1])
        modules = [f"local {each} = (function()\n{module(each)}\nend)()\n" for each in included(name)]
        self.text = "".join(modules) + source(name)
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
