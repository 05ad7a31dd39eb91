"""Render generated templates with hostile values, under a limit on memory; run as a program by `test_liquid_limits`.

    python -m tests.support.liquid_fuzz SEED CASES

Each case is checked as `opportune check` does it, and rendered as the Engager does it. A case may end with a text or
with `Undeliverable`, within the time that the limits promise. The program prints the number of each ending.
"""

import json
import resource
import sys
import time
from collections import Counter
from random import Random
from typing import Any

from definitions.model.liquid import errors
from engager.ledger.states import Undeliverable
from engager.render import Templates
from shared.ruleset import Campaign, Trigger
from shared.templates import MAX_CPU_S, MAX_OUTPUT_BYTES, Environment

MEMORY_BYTES = 1024 * 1024 * 1024
SLACK_S = 3.0  # for the last step before the clock is read, on a busy machine

TEXTS = ["", "a", "aaaa", "x" * 5000, "ab " * 20_000, "é🥐" * 3000, "<b" * 4000, "<" * 9000, "&#" + "9" * 5000, "-1"]
NUMBERS = [0, 1, -1, 7, 100, 10**8, 10**12, 2**63, -(10**9), 10**40, 1.5, 1e300, -1e-300, float("inf"), float("nan")]
LISTS: list[list[Any]] = [[], [1, 2, 2], ["a"] * 2000, [{"a": n % 7, "b": "x" * 50} for n in range(500)], [[[["a"]]]]]
ODD: list[Any] = [None, True, {}, {"a": 1}, {"size": 10**9}, "now", "1e999999999", "9" * 4000, "\x00\x85\u2028"]
FILTERS = sorted(set(Environment(autoescape=False).filters))
VARIABLES = [
    "event.n",
    "event.s",
    "event.t",
    "event.l",
    "event.o",
    "customer.n",
    "customer.s",
    "customer.l",
    "v",
    "w",
    "i",
]
LITERALS = [
    "''",
    "'a'",
    "','",
    "' '",
    "'aaaaaaaaaaaaaaaa'",
    "0",
    "1",
    "-1",
    "100000000",
    "1.5",
    "nil",
    "true",
    "'%A %9999d'",
]


def values(random: Random) -> dict[str, Any]:
    """Return attributes of a customer or an event."""
    return {
        "n": random.choice(NUMBERS),
        "s": random.choice(TEXTS),
        "t": random.choice(TEXTS),
        "l": random.choice(LISTS),
        "o": random.choice([*ODD, *NUMBERS, *TEXTS, *LISTS]),
    }


def operand(random: Random) -> str:
    """Return a variable, a literal or a range."""
    kind = random.random()
    if kind < 0.15:
        return f"({operand_of_range(random)}..{operand_of_range(random)})"
    return random.choice(VARIABLES if kind < 0.75 else LITERALS)


def operand_of_range(random: Random) -> str:
    """Return an end of a range."""
    return random.choice(["0", "1", "9999", "1000000000", "event.n", "customer.n", "event.s"])


def expression(random: Random) -> str:
    """Return an operand through up to six filters."""
    text = operand(random)
    for _ in range(random.choice([0, 0, 1, 2, 3, 6])):
        name = random.choice([*FILTERS, "replace", "append", "times", "split", "join", "concat"])
        given = ", ".join(operand(random) for _ in range(random.choice([0, 1, 1, 2])))
        text += f" | {name}" + (f": {given}" if given else "")
    return text


def condition(random: Random) -> str:
    """Return a condition."""
    sign = random.choice(["contains", "contains", "==", "!=", "<", ">="])
    text = f"{operand(random)} {sign} {operand(random)}"
    return f"{text} {random.choice(['and', 'or'])} {condition(random)}" if random.random() < 0.2 else text


def block(random: Random, depth: int = 0) -> str:
    """Return one or more tags."""
    inner = block(random, depth + 1) if depth < 3 else f"{{{{ {expression(random)} }}}}"
    doubled = random.choice(["append", "replace: '',", "concat:", "times:", "join:", "prepend:", "plus:", "split:"])
    form = doubled if doubled.endswith((":", ",")) else f"{doubled}:"
    slicing = random.choice(["", " reversed", f" offset: {operand(random)}", f" limit: {operand(random)}"])
    return random.choice(
        [
            f"{{{{ {expression(random)} }}}}",
            f"{{% assign v = {expression(random)} %}}" + f"{{% assign v = v | {form} v %}}" * random.choice([1, 5, 30]),
            f"{{% capture w %}}{inner}{inner}{{% endcapture %}}{{{{ w }}}}",
            f"{{% for i in {operand(random)}{slicing} %}}{inner}{{% endfor %}}",
            "{% for i in (1..event.n) %}{% assign v = v | append: w | append: i %}{% endfor %}",
            f"{{% tablerow i in {operand(random)} cols: 2 %}}{inner}{{% endtablerow %}}",
            f"{{% if {condition(random)} %}}{inner}{{% else %}}{{{{ v }}}}{{% endif %}}",
            f"{{% case {operand(random)} %}}{{% when {operand(random)} %}}{inner}{{% endcase %}}",
            f"{{% cycle {', '.join(operand(random) for _ in range(random.choice([1, 3, 200])))} %}}",
            f"{{% ifchanged %}}{inner}{{% endifchanged %}}",
            f"{{% increment n %}}{inner}{inner}",
            "{{" * random.choice([1, 3000]) + inner,
        ]
    )


def campaign(random: Random) -> Campaign:
    """Return a campaign with generated content."""
    content = {
        "html" if random.random() < 0.5 else "text": "".join(block(random) for _ in range(random.choice([1, 2, 4])))
    }
    return Campaign("c", "1", "C", Trigger(key="k", program={}, matchers=[], horizon=0), "email", content)


def play(seed: int) -> str:
    """Play one case and return how it ended."""
    random = Random(seed)
    case = campaign(random)
    began = time.thread_time()
    for text in case.content.values():
        errors(text)
    checked = time.thread_time()
    try:
        variables = {"customer": values(random), "event": values(random), "site": {}, "campaign": {}}
        rendered = Templates().render("demo", 1, case, variables)
        ending = "rendered"
        assert all(len(text.encode()) <= MAX_OUTPUT_BYTES for text in rendered.values())
    except Undeliverable as error:
        ending = error.code
    took = max(checked - began, time.thread_time() - checked)
    assert took < MAX_CPU_S + SLACK_S, (seed, took, case.content)
    return ending


def main() -> None:
    """Play the cases and print their endings."""
    seed, cases = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    endings: Counter[str] = Counter()
    for number in range(seed, seed + cases):
        try:
            endings[play(number)] += 1
        except BaseException as error:
            raise RuntimeError(f"case {number}: {type(error).__name__}") from error
    json.dump({**endings, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}, sys.stdout)


if __name__ == "__main__":
    main()
