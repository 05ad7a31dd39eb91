"""The Lua scripts and their Python wrapper say the same."""

import re

import pytest
from lupa.lua51 import LuaRuntime

from decider import scripts
from decider.rows import Outcome, RowCall, TriggerCall

SCRIPTS = ["decide-5.lua", "acknowledge-2.lua", "take-4.lua", "drain-2.lua", "look-1.lua", "forget-5.lua"]
SCRIPTS += ["release-3.lua", "adopt-4.lua", "see-1.lua", "progress-1.lua"]
SAFE = {"DEL", "EXISTS", "HDEL", "HEXISTS", "HGET", "HGETALL", "HINCRBY", "HKEYS", "HMGET", "HSET", "HSETNX"}
SAFE |= {"PEXPIRE", "PTTL", "ZADD", "ZRANGE", "ZREM", "ZREMRANGEBYSCORE", "ZSCORE"}


def header(name: str) -> str:
    """Return the block at the top of a script."""
    return scripts.source(name).split("]]", 1)[0]


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_name_carries_the_number_of_keys(name: str) -> None:
    """decide-5.lua declares KEYS[1] to KEYS[5] in its header and uses no other."""
    declared = {int(n) for n in re.findall(r"KEYS\[(\d+)\]", header(name))}
    used = {int(n) for n in re.findall(r"KEYS\[(\d+)\]", scripts.source(name))}
    assert declared == used == set(range(1, scripts.Script(name).keys + 1))


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_header_says_what_returns_and_why_it_is_atomic(name: str) -> None:
    """Sentence, keys, arguments, result, reason."""
    for word in ("KEYS[1]", "ARGV", "Returns", "Atomic"):
        assert word in header(name)


def test_the_return_codes_are_those_of_the_wrapper() -> None:
    """Each code in the header is a member of `Outcome`, and the other way round."""
    returns = header("decide-5.lua").split("Returns", 1)[1].split("Atomic", 1)[0]
    codes = {int(code) for code in re.findall(r"(?:^|\s)(-?\d) [a-z]", returns)}
    assert codes == {member.value for member in Outcome}


def test_the_arguments_are_those_of_the_wrapper() -> None:
    """Each field that the wrapper sends is explained, and no other."""
    arguments = header("decide-5.lua").split("ARGV[1]", 1)[1].split("ARGV[2]", 1)[0]
    inner = re.search(r"list of \{([^}]+)\}", arguments)
    assert inner is not None
    assert set(inner[1].replace(" ", "").split(",")) == set(TriggerCall.__struct_fields__)
    names = set(RowCall.__struct_fields__) - {"message_id"}
    assert all(re.search(rf"\b{name}\b", arguments) for name in names)


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_composed_script_is_lua_5_1(name: str) -> None:
    """It compiles as Redis would compile it, and reads no undeclared global."""
    lua = LuaRuntime()
    script = scripts.Script(name)
    assert lua.eval("loadstring")(script.text) is not None
    known = {"redis", "cmsgpack", "cjson", "KEYS", "ARGV"}
    for pure in scripts.PURE:
        words = set(re.findall(r"\b(redis|cmsgpack|cjson|struct|bit|os|io)\b\.", scripts.source(f"{pure}.lua")))
        assert words & known == set()  # machine and gates themselves know nothing of Redis


def test_no_command_is_used_that_a_serverless_cache_refuses() -> None:
    """No scanning, no waiting, no functions, no keyspace events."""
    for name in SCRIPTS:
        called = set(re.findall(r'redis\.call\("(\w+)"', scripts.source(name)))
        assert called <= SAFE
