"""Draw the charts of a report as SVG: no script, colours from the page's style, a text for screen readers.

They contain no text that a user wrote.
"""

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as ET

from markupsafe import Markup

from opportune.replay.explain.words import day, duration, stamp
from opportune.replay.tally import DAY_MS, Bucket, width_name

WIDTH = 680
_HEIGHT = 280
_LEFT, _TOP, _BOTTOM = 46, 12, 40
_LABELS = 6
_ROW = 24
_NAMES = 96


def by_time(buckets: Sequence[Bucket], name: str) -> Markup:
    """Return a column chart of matches over time. *name* is unique in the page."""
    most = max((bucket.matches for bucket in buckets), default=0)
    top = _round_up(most)
    svg = _svg(name, WIDTH, _HEIGHT, f"Matches per {width_name(list(buckets))}", _described(buckets))
    height = _HEIGHT - _TOP - _BOTTOM
    for value in _ticks(top):
        y = _TOP + height * (1 - value / top)
        _add(svg, "line", {"class": "grid", "x1": _LEFT, "x2": WIDTH, "y1": y, "y2": y})
        _add(svg, "text", {"x": _LEFT - 8, "y": y + 4, "text-anchor": "end"}, f"{value:,}")
    slot = (WIDTH - _LEFT) / max(1, len(buckets))
    every = -(-len(buckets) // _LABELS)
    for n, bucket in enumerate(buckets):
        x = _LEFT + n * slot
        if bucket.matches:
            tall = max(1.5, height * bucket.matches / top)
            place: dict[str, Any] = {
                "x": x + slot * 0.1,
                "y": _TOP + height - tall,
                "width": slot * 0.8,
                "height": tall,
                "rx": 1.5,
            }
            bar = _add(svg, "rect", {"class": "bar", **place})
            _add(bar, "title", {}, f"{stamp(bucket.start)}: {bucket.matches:,}")
        if n % every == 0:
            place = {"x": x, "y": _HEIGHT - 24} if n == 0 else {"x": x + slot / 2, "y": _HEIGHT - 24}
            _tick(svg, place | {"text-anchor": "middle" if n else "start"}, bucket, buckets[n - every] if n else None)
    _add(svg, "line", {"class": "axis", "x1": _LEFT, "x2": WIDTH, "y1": _TOP + height, "y2": _TOP + height})
    return _done(svg)


def by_duration(buckets: Sequence[Bucket], name: str, *, open_ended: bool) -> Markup:
    """Return a bar chart of matches by duration. *open_ended*: the last bar also counts longer ones."""
    most = max((bucket.matches for bucket in buckets), default=0) or 1
    rows = [(f"{duration(each.start)} – {duration(each.end)}", each.matches) for each in buckets]
    if open_ended:
        rows[-1] = (f"{duration(buckets[-1].start)} or more", rows[-1][1])
    text = "; ".join(f"{row}: {count:,}" for row, count in rows)
    width = WIDTH // 2
    svg = _svg(name, width, _ROW * len(rows), "Time from the first event of a match to the match", text)
    room = width - _NAMES - 52
    for n, (row, count) in enumerate(rows):
        y = n * _ROW
        _add(svg, "text", {"x": _NAMES - 8, "y": y + 16, "text-anchor": "end"}, row)
        wide = max(1.5, room * count / most) if count else 0
        place = {"x": _NAMES, "y": y + 4, "width": wide, "height": _ROW - 8, "rx": 1.5}
        _add(svg, "rect", {"class": "bar", **place})
        _add(svg, "text", {"class": "value", "x": _NAMES + wide + 6, "y": y + 16}, f"{count:,}")
    return _done(svg)


def _described(buckets: Sequence[Bucket]) -> str:
    if not any(bucket.matches for bucket in buckets):
        return "No match."
    best = max(buckets, key=lambda bucket: bucket.matches)
    empty = sum(not bucket.matches for bucket in buckets)
    return (
        f"{len(buckets)} columns from {stamp(buckets[0].start)} to {stamp(buckets[-1].end)} UTC, {empty} of them "
        f"empty. Most matches: {best.matches:,} from {stamp(best.start)} to {stamp(best.end)}."
    )


def _tick(svg: ET.Element, place: dict[str, Any], bucket: Bucket, before: Bucket | None) -> None:
    """Write the time of a column below it, and the day where it is another one than *before*."""
    date, time = stamp(bucket.start).split()
    lines = [date] if bucket.end - bucket.start >= DAY_MS else [time[:5]]
    if lines != [date] and (before is None or day(before.start) != date):
        lines.append(date)
    for n, line in enumerate(lines):
        _add(svg, "text", place | {"y": place["y"] + 15 * n}, line)


def _round_up(most: int) -> int:
    """Return the upper end of an axis: 1, 2, 4, 5 or 10 times a power of ten, so that its quarters are round."""
    size: int = 10 ** (len(str(max(1, most))) - 1)
    return next(size * n for n in (1, 2, 4, 5, 8, 10) if size * n >= most)


def _ticks(top: int) -> list[int]:
    parts = next(n for n in (4, 5, 2, 1) if top % n == 0)
    return [top * n // parts for n in range(parts + 1)]


def _svg(name: str, width: int, height: int, title: str, text: str) -> ET.Element:
    labelled = {"role": "img", "aria-labelledby": f"{name}-title", "aria-describedby": f"{name}-text"}
    svg = ET.Element("svg", {"viewBox": f"0 0 {width} {height}", "class": "chart", **labelled})
    _add(svg, "title", {"id": f"{name}-title"}, title)
    _add(svg, "desc", {"id": f"{name}-text"}, text)
    return svg


def _add(parent: ET.Element, tag: str, attributes: dict[str, Any], text: str | None = None) -> ET.Element:
    shown = {key: value if isinstance(value, str) else f"{value:.2f}" for key, value in attributes.items()}
    element = ET.SubElement(parent, tag, shown)
    element.text = text
    return element


def _done(svg: ET.Element) -> Markup:
    return Markup(ET.tostring(svg, encoding="unicode"))  # noqa: S704 - ElementTree has escaped what is in it
