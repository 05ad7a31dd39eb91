"""Liquid with hard limits, for values and templates that try to use up time or memory.

The limits of python-liquid count loops, output and assigned variables, but not what an expression makes on its way.
Here every value is bounded: one that is looked up, and what a filter takes and returns. So each step is short, and
the time limit is checked between any two of them.

    size of a value     MAX_TEXT characters, with everything in it; MAX_ITEMS items
    integers            MAX_BITS bits
    ranges              MAX_ITEMS numbers
    loops               MAX_ITEMS iterations, nested ones multiplied
    output              MAX_OUTPUT_BYTES a text, MAX_TOTAL_BYTES all texts of a message
    time                MAX_CPU_S of this thread, all texts of a message

A template over a limit raises `ResourceLimitError`. There are no partial templates, and no value can be marked as safe.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from shared.template_filters import BEFORE, MAX_ITEMS, check_size, modulo, round_half_up, strip_html, uniq

# isort: split
import liquid
from liquid.builtin.expressions.primitive import RangeLiteral
from liquid.builtin.tags.cycle_tag import CycleNode
from liquid.context import RenderContext
from liquid.exceptions import LiquidError, LiquidSyntaxError, ResourceLimitError
from liquid.output import LimitedStringIO

from shared.local_filters import local_date, money

MAX_OUTPUT_BYTES = 512 * 1024
MAX_TOTAL_BYTES = 2 * MAX_OUTPUT_BYTES
MAX_CPU_S = 1.0

LimitExceeded = ResourceLimitError
# What a filter may raise. It meets whatever a site stores about its customers.
RENDER_ERRORS = (LiquidError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError, MemoryError)

_OPENING = re.compile(r"\{[{%]")
_BLANKS = re.compile(r"\{[{%]-?\s{1000}")
_VERBATIM = re.compile(r"\{%-?\s*(raw|doc)\b")
_MAX_OPEN = 50
_CHECK_EVERY = 16


class Budget:
    """The time and the output that all texts of one message share. The time starts now."""

    def __init__(self) -> None:
        self._end = time.thread_time() + MAX_CPU_S
        self._calls = 0
        self.bytes_left = MAX_TOTAL_BYTES

    def check(self) -> None:
        """Raise `ResourceLimitError` once the time is used up. The clock is read in every 16th call."""
        self._calls += 1
        if self._calls % _CHECK_EVERY == 0 and time.thread_time() > self._end:
            raise ResourceLimitError(f"it takes longer than {MAX_CPU_S:g} s", token=None)


class _Context(RenderContext):
    __slots__ = ("budget",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.budget = Budget()

    def get(self, *args: Any, **kwargs: Any) -> object:
        self.budget.check()
        return check_size(super().get(*args, **kwargs))

    def filter(self, name: str, token: Any = None) -> Callable[..., object]:
        function = super().filter(name, token)

        def bounded(*args: Any, **kwargs: Any) -> object:
            self.budget.check()
            check_size(args)
            check_size(kwargs)
            if name in BEFORE:
                BEFORE[name](*args, **kwargs)
            return check_size(function(*args, **kwargs))

        return bounded

    def loop(self, namespace: Mapping[str, object], forloop: Any) -> Any:
        forloop.it = self._timed(forloop.it)
        return super().loop(namespace, forloop)

    def _timed(self, items: Iterator[object]) -> Iterator[object]:
        for item in items:
            self.budget.check()
            yield item


class _CycleNode(CycleNode):
    """Bounds all values of a cycle together, because it shows them as one text to tell cycles apart."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        check_size([each.evaluate(context) for each in (*self.args, *([self.group] if self.group else []))])
        return super().render_to_output(context, buffer)


class Template(liquid.BoundTemplate):
    """A parsed template."""

    context_class = _Context

    def render_within(self, variables: Mapping[str, Any], budget: Budget) -> str:
        """Return the text with *variables*; raises one of `RENDER_ERRORS`."""
        context = _Context(self, globals=self.make_globals(variables))
        context.budget = budget
        buffer = LimitedStringIO(limit=min(MAX_OUTPUT_BYTES, budget.bytes_left))
        self.render_with_context(context, buffer)
        budget.bytes_left -= buffer.size
        return buffer.getvalue()


class Environment(liquid.Environment):
    """The tags and filters of campaigns. *autoescape*: escape values for HTML."""

    template_class = Template
    block_nesting_limit = 20
    context_depth_limit = 20
    loop_iteration_limit = MAX_ITEMS
    local_namespace_limit = 1024 * 1024
    output_stream_limit = MAX_OUTPUT_BYTES

    def __init__(self, *, autoescape: bool) -> None:
        super().__init__(autoescape=autoescape)
        del self.filters["safe"]
        for tag in ("include", "render"):
            del self.tags[tag]
        self.filters["strip_html"] = strip_html
        self.filters["uniq"] = uniq
        self.filters |= {"round": round_half_up, "modulo": modulo, "date": local_date, "money": money}
        cycle: Any = self.tags["cycle"]
        cycle.node_class = _CycleNode

    def parse_template(self, source: str) -> Template:
        """Return *source*, parsed; raises `LiquidError`."""
        _check_closed(source)
        template = self.from_string(source)
        assert isinstance(template, Template)  # noqa: S101 - for the type checker
        return template


def _check_closed(source: str) -> None:
    """Raise `LiquidSyntaxError` for a text that python-liquid reads in quadratic time.

    For each ``{{``, ``{%`` or ``raw`` that is not closed it searches to the end, and for each blank behind it, too.
    """
    ends = {"{{": source.rfind("}}"), "{%": source.rfind("%}")}
    if sum(found.start() > ends[found[0]] for found in _OPENING.finditer(source)) > _MAX_OPEN:
        raise LiquidSyntaxError("expected '}}' or '%}', found end of file", token=None)
    ends = {"raw": source.rfind("endraw"), "doc": source.rfind("enddoc")}
    if sum(found.start() > ends[found[1]] for found in _VERBATIM.finditer(source)) > _MAX_OPEN:
        raise LiquidSyntaxError("expected 'endraw' or 'enddoc', found end of file", token=None)
    if _BLANKS.search(source):
        raise LiquidSyntaxError("too many blanks", token=None)


def _make_range(_: RangeLiteral, start: Any, stop: Any) -> range:
    made: range = _make_any_range(_, start, stop)
    if made.stop - made.start > MAX_ITEMS:
        raise ResourceLimitError(f"a range has more than {MAX_ITEMS} numbers", token=None)
    return made


# The parser creates ranges by the class's name, so there is no other place to bound them all: loops skip to an offset
# number by number, and `contains` looks at each.
_make_any_range = RangeLiteral._make_range  # noqa: SLF001
setattr(RangeLiteral, "_make_range", _make_range)  # noqa: B010 - mypy takes it for another signature
