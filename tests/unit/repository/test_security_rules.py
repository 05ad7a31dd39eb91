"""Rules about security that ruff does not have, read from the syntax trees of all sources.

Ruff's rules S (bandit's) are all on; pyproject.toml gives the reason of each exception. These rules add what this
project is about: queries, scripts, outgoing calls and logs. Each rule is shown to find what it is for.
"""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SOURCES = sorted(path for folder in ("functions", "opportune") for path in (ROOT / folder).rglob("*.py"))
# Fields of a log line that could name a person, or quote one.
PERSONAL = frozenset(
    {"user", "user_id", "customer", "visitor", "anonymous", "email", "mail", "phone", "address", "ip", "token",
     "secret", "password", "key", "traits", "attributes", "properties", "event", "content", "body", "payload",
     "subject", "query", "exception", "error", "first_name", "last_name"}
)  # fmt: skip
LEVELS = frozenset({"debug", "info", "warning", "error", "critical", "exception", "log_warning", "_log_warning"})
# The server runs what these hold as JavaScript.
JAVASCRIPT = frozenset({"$where", "$function", "$accumulator", "mapReduce"})
Rule = Callable[[ast.AST], bool]


def _name(node: ast.AST) -> str:
    """Return the dotted name of a call's function, as far as it has one."""
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _keywords(node: ast.Call) -> dict[str | None, ast.expr]:
    return {word.arg: word.value for word in node.keywords}


def _is_composed(node: ast.expr) -> bool:
    """Return whether a text is put together from values."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return True
    return isinstance(node, ast.Call) and _name(node.func).endswith((".format", ".replace", ".join"))


def loads_objects(node: ast.AST) -> bool:
    """Find readers that may create any object: pickle and its relatives, and YAML with tags."""
    if isinstance(node, ast.Import):
        return any(each.name in ("pickle", "marshal", "shelve", "dill", "jsonpickle") for each in node.names)
    if isinstance(node, ast.ImportFrom):
        return node.module in ("pickle", "marshal", "shelve", "dill", "jsonpickle", "yaml")
    if not isinstance(node, ast.Call):
        return False
    name, words = _name(node.func), _keywords(node)
    if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
        return True
    kind = words.get("typ")
    return name.endswith("YAML") and not (isinstance(kind, ast.Constant) and kind.value in ("safe", "rt"))


def starts_a_shell(node: ast.AST) -> bool:
    """Find shells, which interpret what is in a name or an argument."""
    if not isinstance(node, ast.Call):
        return False
    shell = _keywords(node).get("shell")
    is_shell = shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False)
    return is_shell or _name(node.func) in (
        "os.system",
        "os.popen",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
    )


def runs_composed_scripts(node: ast.AST) -> bool:
    """Find scripts for the state store that are put together; values are arguments."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    scripts = node.func.attr in ("eval", "eval_ro", "script_load", "register_script", "execute_command")
    return scripts and bool(node.args) and _is_composed(node.args[0])


def sends_javascript(node: ast.AST) -> bool:
    """Find text that MongoDB would run as code."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in JAVASCRIPT


def composes_operators(node: ast.AST) -> bool:
    """Find queries whose operator comes from a value: ``{f"${name}": …}``."""
    keys = node.keys if isinstance(node, ast.Dict) else []
    for key in keys:
        if isinstance(key, ast.JoinedStr) and key.values:
            first = key.values[0]
            if isinstance(first, ast.Constant) and str(first.value).startswith("$"):
                return True
    return False


def calls_without_timeout(node: ast.AST) -> bool:
    """Find calls that wait for ever for a server that accepts and never answers."""
    if not isinstance(node, ast.Call):
        return False
    name, words = _name(node.func), _keywords(node)
    library = name.partition(".")[0] in ("requests", "httpx") and name.count(".") == 1
    opens = name.endswith(("urlopen", "HTTPConnection", "HTTPSConnection", "socket.create_connection"))
    return (library or opens) and "timeout" not in words and len(node.args) < 3


def trusts_anyone(node: ast.AST) -> bool:
    """Find TLS and tokens that are not verified."""
    if isinstance(node, ast.Attribute):
        return node.attr in ("_create_unverified_context", "CERT_NONE")
    if not isinstance(node, ast.Call):
        return False
    words = _keywords(node)
    for word in ("verify", "check_hostname", "verify_signature", "tlsAllowInvalidCertificates", "tlsInsecure"):
        value = words.get(word)
        if isinstance(value, ast.Constant) and value.value is (word.startswith("tls")):
            return True
    return _name(node.func) == "jwt.decode" and not {"algorithms", "audience"} <= words.keys()


def logs_a_person(node: ast.AST) -> bool:
    """Find log lines with a field that may name a person, or with a text put together from values."""
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else _name(function)
    if name not in LEVELS or "console" in _name(function):
        return False
    if node.args and _is_composed(node.args[0]):
        return True
    extra = _keywords(node).get("extra")
    keys = extra.keys if isinstance(extra, ast.Dict) else []
    return any(isinstance(key, ast.Constant) and key.value in PERSONAL for key in keys)


EXAMPLES: dict[Rule, tuple[list[str], list[str]]] = {
    loads_objects: (
        ["import pickle", "from yaml import load", "yaml.load(text)", 'YAML(typ="unsafe")', "YAML()"],
        ['YAML(typ="safe", pure=True)', "json.loads(text)"],
    ),
    starts_a_shell: (
        ["subprocess.run(line, shell=True)", "os.system(line)", "Popen(line, shell=flag)"],
        ["subprocess.run([name])", "run([name], shell=False)"],
    ),
    runs_composed_scripts: (
        ['client.eval(f"return {x}", 0)', 'client.eval("return " + x, 0)', 'client.script_load("%s" % x)'],
        ["client.eval(script.text, 1, key)", 'client.eval("return 1", 0)'],
    ),
    sends_javascript: (['find({"$where": text})', 'x = {"$function": {}}'], ['find({"$expr": {}})']),
    composes_operators: (['find({f"${op}": 1})'], ['find({f"a.{name}": 1})', 'find({"$in": []})']),
    calls_without_timeout: (
        ["requests.get(url)", "urllib.request.urlopen(url)", "http.client.HTTPSConnection(host)", "httpx.post(url)"],
        ["requests.get(url, timeout=3)", "urlopen(url, timeout=2)"],
    ),
    trusts_anyone: (
        ["ssl._create_unverified_context()", "get(url, verify=False)", "jwt.decode(token, key)",
         "MongoClient(url, tlsInsecure=True)", "context.verify_mode = ssl.CERT_NONE"],
        ["jwt.decode(token, key, algorithms=[a], audience=b)", "get(url, verify=True)"],
    ),
    logs_a_person: (
        ['logger.info("x", extra={"user": user})', 'logger.error(f"no {user}")', 'log_warning("x " + name)',
         'self._log_warning("x", extra={"code": 1, "email": a})'],
        ['logger.info("x", extra={"code": code})', 'logger.error("%s failed", what)'],
    ),
}  # fmt: skip


# Rule and file → why it is right there.
EXCEPTIONS = {
    ("composes_operators", "functions/shared/conditions/mongodb.py"): "its operators are those of a closed list",
    ("calls_without_timeout", "functions/engager/channels/webhook_wire.py"): "its socket has a deadline for all steps",
    ("runs_composed_scripts", "opportune/local/valkey.py"): "the commands are its own",
}


def find(rule: Rule, tree: ast.AST) -> Iterator[int]:
    """Yield the lines of *tree* that break *rule*."""
    return (getattr(node, "lineno", 0) for node in ast.walk(tree) if rule(node))


@pytest.mark.parametrize("rule", EXAMPLES)
def test_a_rule_finds_what_it_is_for(rule: Rule) -> None:
    """Each bad line is found, and no good one."""
    bad, good = EXAMPLES[rule]
    assert [line for line in bad if not list(find(rule, ast.parse(line)))] == []
    assert [line for line in good if list(find(rule, ast.parse(line)))] == []


@pytest.fixture(name="trees", scope="module")
def _trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}


@pytest.mark.parametrize("rule", EXAMPLES)
def test_no_source_breaks_a_rule(rule: Rule, trees: dict[Path, ast.Module]) -> None:
    """Functions and tooling follow all of them, except where a reason is given. Each exception is still needed."""
    found = {
        path.relative_to(ROOT).as_posix(): lines for path, tree in trees.items() if (lines := list(find(rule, tree)))
    }
    excepted = {path for name, path in EXCEPTIONS if name == rule.__name__}
    assert {path: lines for path, lines in found.items() if path not in excepted} == {}
    assert excepted <= found.keys()
