"""Fields that people may expect in a trigger, why they do not exist, and what to write instead."""

_MIN_GAP = (
    "Opportune keeps only the newest event of each step, and cannot tell a minimum time between events from that; "
    "write 'gap' for a maximum, or 'unless' with 'for' for 'and then nothing for that long'"
)
_AT_MOST = (
    "when the n-th event comes, it is not yet known whether more will follow; write 'times: n' for 'at least n', "
    "and 'unless' with the same event for 'and no further one for that long'"
)
_SUM = (
    "a sum over a moving window would need every event in it; let the site send the running total as an attribute "
    "and compare that, as in where: {total: {gte: 100}}, or count events with 'times'"
)
_COMPARED = (
    "events are not compared with each other, because only their times are kept; 'per' separates runs by the value "
    "of an attribute, so that all events of a match have the same value"
)
_SILENCE = (
    "a wait in the middle of a sequence cannot be decided together with 'within'; write 'not_before' in the next "
    "step for 'none of these in between', or 'unless' beside 'sequence' for silence at its end"
)
EVERYWHERE: dict[str, str] = {
    **dict.fromkeys(("min_gap", "after", "wait", "at_least_after", "min_within", "not_within"), _MIN_GAP),
    "at_least": f"'times: n' already means 'at least n'; as a time: {_MIN_GAP}",
    **dict.fromkeys(("exactly", "at_most", "max_times", "times_max", "no_more_than"), _AT_MOST),
    **dict.fromkeys(("sum", "sum_of", "count_of", "total", "average", "avg"), _SUM),
    **dict.fromkeys(("same", "same_as", "equals", "compare", "greater_than_previous"), _COMPARED),
}
IN_STEPS: dict[str, str] = dict.fromkeys(("unless", "absent", "for"), _SILENCE)
ONLY_IN_STEPS: dict[str, str] = dict.fromkeys(
    ("times", "consecutive", "directly", "gap", "not_before", "inner"),
    "only a step of a 'sequence' can have it; this is a plain matcher with 'event' and 'where'",
)
