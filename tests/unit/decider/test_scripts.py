"""The Lua scripts agree with their Python wrapper."""

import re

import pytest
from lupa.lua51 import LuaRuntime

from decider import scripts
from decider.layout import Outcome
from decider.user_state import ApplyEvent, TriggerCall

SCRIPTS = [
    "apply-event-5.lua",
    "acknowledge-2.lua",
    "claim-activation-4.lua",
    "drain-counters-2.lua",
    "inspect-user-1.lua",
    "erase-user-5.lua",
]
SCRIPTS += ["detach-visitor-3.lua", "merge-visitor-4.lua", "mark-seen-1.lua", "count-progress-1.lua"]
MODULES = ("machine", "messages", "gates", "rate", "offers", "cancellations", "merge")
SAFE = {"DEL", "EXISTS", "HDEL", "HEXISTS", "HGET", "HGETALL", "HINCRBY", "HKEYS", "HMGET", "HSET", "HSETNX"}
SAFE |= {"PEXPIRE", "PTTL", "TIME", "ZADD", "ZRANGE", "ZREM", "ZREMRANGEBYSCORE", "ZSCORE"}


def header(name: str) -> str:
    """Return the block at the top of a script."""
    return scripts.source(name).split("]]", 1)[0]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_name_carries_the_number_of_keys(name: str) -> None:
    """apply-event-5.lua declares KEYS[1] to KEYS[5] in its header and uses no other."""
    declared = {int(n) for n in re.findall(r"KEYS\[(\d+)\]", header(name))}
    used = {int(n) for n in re.findall(r"KEYS\[(\d+)\]", scripts.source(name))}
    assert declared == used == set(range(1, scripts.Script(name).keys + 1))


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_header_says_what_returns_and_why_it_is_atomic(name: str) -> None:
    """A header has a sentence, the keys, the arguments, the result, and the reason why it is atomic."""
    for word in ("KEYS[1]", "ARGV", "Returns", "Atomic"):
        assert word in header(name)


def test_the_return_codes_are_those_of_the_wrapper() -> None:
    """The codes in the header are exactly the members of `Outcome`."""
    returns = header("apply-event-5.lua").split("Returns", 1)[1].split("Atomic", 1)[0]
    codes = {int(code) for code in re.findall(r"(?:^|\s)(-?\d) [a-z]", returns)}
    assert codes == {member.value for member in Outcome}


def test_the_arguments_are_those_of_the_wrapper() -> None:
    """The header explains exactly the fields that the wrapper sends."""
    arguments = header("apply-event-5.lua").split("ARGV[1]", 1)[1].split("ARGV[2]", 1)[0]
    inner = re.search(r"list of \{([^}]+)\}", arguments)
    assert inner is not None
    assert set(inner[1].replace(" ", "").split(",")) == set(TriggerCall.__struct_fields__)
    names = set(ApplyEvent.__struct_fields__) - {"message_id"}
    assert all(re.search(rf"\b{name}\b", arguments) for name in names)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_composed_script_is_lua_5_1(name: str) -> None:
    """It compiles as Redis would compile it, and reads no undeclared global."""
    lua = LuaRuntime()
    script = scripts.Script(name)
    assert lua.eval("loadstring")(script.text) is not None
    known = {"redis", "cmsgpack", "cjson", "KEYS", "ARGV"}
    for each in MODULES:
        words = set(re.findall(r"\b(redis|cmsgpack|cjson|struct|bit|os|io)\b\.", scripts.module(each)))
        assert words & known == set()  # modules are pure


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_includes_what_it_uses(name: str) -> None:
    """A missing module fails only when its line runs. An unused one costs time in every call."""
    modules = scripts.included(name)
    uses = {
        each
        for each in MODULES
        if any(_uses(each, text) for text in (scripts.source(name), *map(scripts.module, modules)))
    }
    assert uses == set(modules)
    for place, each in enumerate(modules):
        needed = {other for other in MODULES if other != each and _uses(other, scripts.module(each))}
        assert needed <= set(modules[:place])


def _uses(module: str, text: str) -> bool:
    return re.search(rf"\b{module}\.(?!lua\b)\w", text) is not None


def test_no_command_is_used_that_a_serverless_cache_refuses() -> None:
    """No scan, no wait, no functions, no keyspace events."""
    for name in SCRIPTS:
        called = set(re.findall(r'redis\.call\("(\w+)"', scripts.source(name)))
        assert called <= SAFE
