"""Check loaded definitions: every file by itself, then all of them together."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from definitions.checks.cross_check import cross_check
from definitions.checks.warnings import find_warnings
from definitions.loading.folder import Sources
from definitions.loading.problems import InvalidFiles, Problem
from definitions.loading.yaml_source import Source
from definitions.model.campaign import Campaign
from definitions.model.definitions import Definitions
from definitions.model.event import Event
from definitions.model.field_errors import InvalidDefinitions, join, validate
from definitions.model.group import TargetGroup
from definitions.model.site import Site

Model = TypeVar("Model", bound=BaseModel)

# The site of a campaign without one; it has no write key, so it is not validated.
NO_SITE = Site.model_construct(id="unpublished", name="unpublished", keys=())


class Examined(NamedTuple):
    """The result of `examine`. ``definitions`` is ``None`` if there are errors; ``problems`` has warnings too."""

    definitions: Definitions | None
    problems: tuple[Problem, ...]


def check(sources: Sources, env: Mapping[str, str]) -> Definitions:
    """Return *sources* as definitions; raises `InvalidFiles` with every problem, those of loading included.

    *env*: where keys with ``from_env`` are looked up. A variable may be missing, but if set, it must be a usable key.
    """
    checker = _Checker(sources)
    if sources.scope == "folder":
        checker.check_keys(env)
    if sources.scope != "lone campaign":
        checker.check_together()
    if checker.problems:
        raise InvalidFiles(checker.problems)
    return Definitions(
        site=checker.site if checker.site is not None else NO_SITE,
        events=tuple(checker.known_events()),
        groups=tuple(checker.groups),
        campaigns=tuple(checker.campaigns),
    )


def warn(sources: Sources, definitions: Definitions, now: datetime) -> tuple[Problem, ...]:
    """Return warnings about the checked *definitions* of a folder, sorted by place; of a single campaign, none."""
    if sources.scope != "folder":
        return ()
    found = find_warnings(definitions.site, definitions.campaigns, now)
    files = {"campaigns": sources.campaigns}
    return tuple(sorted({replace(_place(sources, files, *each), level="warning") for each in found}))


def examine(sources: Sources, env: Mapping[str, str], now: datetime) -> Examined:
    """Return definitions, errors and warnings; raises nothing."""
    try:
        definitions = check(sources, env)
    except InvalidFiles as error:
        return Examined(None, error.problems)
    return Examined(definitions, warn(sources, definitions, now))


def _place(sources: Sources, files: Mapping[str, Sequence[Source]], field: str, message: str) -> Problem:
    """Return a problem at *field* of all definitions (``campaigns[0].targets``) as a problem of its file.

    *files*: the files of ``events``, ``groups`` and ``campaigns``, in the order in which *field* counts them.
    """
    if sources.site is not None and field.startswith("site."):
        return sources.site.problem(field.removeprefix("site."), message)
    found = re.match(r"(events|groups|campaigns)\[(\d+)\]\.", field)
    if not found:
        return Problem(str(sources.path), 1, 1, field, message)
    return files[found[1]][int(found[2])].problem(field[found.end() :], message)


class _Checker:
    """Validates each file and collects every problem.

    A broken event or group still counts as defined, so that one mistake is not reported in every campaign.
    """

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._files: dict[str, list[Source]] = {"events": [], "groups": [], "campaigns": []}
        self._broken_events: list[str] = []
        self._broken_groups = set(sources.unreadable_groups)
        self._has_unknown_events = sources.has_unreadable_events
        self.problems = list(sources.problems)
        self.site = self._validated(sources.site, Site) if sources.site is not None else None
        self.events = [event for source in sources.events if (event := self._event(source))]
        self.groups = [group for source in sources.groups if (group := self._group(source))]
        if sources.scope == "campaign":
            self.problems = list(sources.problems)  # those found so far are about other files
        self.campaigns = [one for source in sources.campaigns if (one := self._part("campaigns", source, Campaign))]

    def known_events(self) -> list[Event]:
        """Return the events and a stand-in for each broken one; none if the name of a broken one is unknown."""
        if self._has_unknown_events:
            return []
        names = {event.name for event in self.events}
        stand_ins = (Event.model_construct(name=name, attributes=None) for name in self._broken_events)
        return self.events + [event for event in stand_ins if event.name not in names]

    def check_together(self) -> None:
        """Check what the definitions say about each other."""
        conflicts = cross_check(
            self.site, self.known_events(), self.groups, self.campaigns, other_groups=self._broken_groups
        )
        for field, message in conflicts:
            if self._sources.scope == "folder" or field.startswith("campaigns"):
                self.problems.append(_place(self._sources, self._files, field, message))

    def check_keys(self, env: Mapping[str, str]) -> None:
        """Check the write keys that are set in *env*."""
        if self.site is None or self._sources.site is None:
            return
        for number, key in enumerate(self.site.keys):
            value = env.get(key.from_env or "")
            if key.from_env is not None and value is not None and not re.fullmatch(r"\S+", value):
                message = f"the environment variable {key.from_env} is empty or has spaces in it: set it to the key"
                self.problems.append(self._sources.site.problem(f"keys[{number}].from_env", message))

    def _event(self, source: Source) -> Event | None:
        event = self._part("events", source, Event)
        if event is None:
            name = source.data.get("name") if isinstance(source.data, dict) else None
            if isinstance(name, str) and name:
                self._broken_events.append(name)
            else:
                self._has_unknown_events = True
        return event

    def _group(self, source: Source) -> TargetGroup | None:
        group = self._part("groups", source, TargetGroup)
        if group is None:
            name = source.data.get("id") if isinstance(source.data, dict) else None
            self._broken_groups.add(name if isinstance(name, str) else Path(source.file).stem)
        return group

    def _part(self, kind: str, source: Source, model: type[Model]) -> Model | None:
        value = self._validated(source, model)
        if value is not None:
            self._files[kind].append(source)
        return value

    def _validated(self, source: Source, model: type[Model]) -> Model | None:
        messages: dict[str, list[str]] = {}
        value: Model | None = None
        try:
            value = validate(model, source.data)
        except InvalidDefinitions as error:
            for each in error.problems:
                messages.setdefault(each.field, []).append(each.message)
        # The models take null for a field that was left out; in a file it is an unfinished line.
        messages |= {field: ["is empty: write a value, or remove the line"] for field in _empty(source.data)}
        self.problems += [source.problem(field, each) for field, several in messages.items() for each in several]
        return None if messages else value


def _empty(data: Any, field: str = "") -> Iterator[str]:
    """Yield the fields without a value, except inside of conditions, which report their own."""
    if data is None:
        yield field
    elif isinstance(data, dict):
        for name, value in data.items():
            if name not in ("where", "rule") or value is None:
                yield from _empty(value, join(field, str(name)))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _empty(value, f"{field}[{number}]")
