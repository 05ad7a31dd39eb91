"""Load the Lua scripts, the modules that they include, and the constants that they name.

A script names each module it needs in a line ``--- @include gates``. The module's text, from ``lua/include/``, becomes
a local of that name above the script. Redis runs it on every call, at about 2 µs a module: include only what is used.
Modules are pure; one module sees those included before it.

Names such as ``FIRING.gate`` are replaced by what `decider.layout` says: a position, a stored field or a code.
"""

import hashlib
import re
from pathlib import Path

from decider.layout import CONSTANTS

_LUA = Path(__file__).parent / "lua"
_INCLUDE = re.compile(r"^--- @include (\w+)$", re.MULTILINE)
_CONSTANT = re.compile(rf"\b({'|'.join(CONSTANTS)})\.(\w+)")


def source(name: str) -> str:
    """Return the text of a script such as ``inspect-user-1.lua``, as it is written."""
    return (_LUA / name).read_text("utf-8")


def module(name: str) -> str:
    """Return the text of a module in ``lua/include/``, such as ``machine``, with its constants replaced."""
    return replace_constants(source(f"include/{name}.lua"))


def included(name: str) -> list[str]:
    """Return the modules that a script includes, in order."""
    return _INCLUDE.findall(source(name))


class Script:
    """A script as Redis runs it: its ``text`` with all modules, its ``sha``, and how many ``keys`` it declares."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys = int(name.removesuffix(".lua").rsplit("-", 1)[1])
        modules = [f"local {each} = (function()\n{module(each)}\nend)()\n" for each in included(name)]
        self.text = "".join(modules) + replace_constants(source(name))
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()


def replace_constants(text: str) -> str:
    """Return *text* with the names of `decider.layout` replaced; raises `KeyError` for an unknown one."""
    return _CONSTANT.sub(lambda found: CONSTANTS[found[1]][found[2]], text)
