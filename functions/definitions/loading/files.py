"""Definitions as a folder of YAML files.

    site.yaml            the site
    events/*.yaml        one event each: its name, its attributes, where the tag goes
    groups/*.yaml        one target group each; a list may lie beside it, one user id per line
    campaigns/*.yaml     one campaign each

Every problem is named by file, line and field, and all of them at once.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel

from definitions.checks.cross_check import cross_check
from definitions.checks.warnings import doubts
from definitions.loading import user_list
from definitions.loading.yaml_source import InvalidFiles, Problem, Source, read
from definitions.model.campaign import Campaign
from definitions.model.definitions import Definitions
from definitions.model.event import Event
from definitions.model.field_errors import InvalidDefinitions, validate
from definitions.model.group import UPLOADED, TargetGroup
from definitions.model.site import Site

__all__ = ["Examined", "InvalidFiles", "Problem", "examine", "load"]

Model = TypeVar("Model", bound=BaseModel)


class _Loaded(NamedTuple):
    source: Source
    value: Any  # a model


def load(path: Path, env: Mapping[str, str]) -> Definitions:
    """Return what is defined in the folder *path*; raises `InvalidFiles` with all problems.

    *path* may also be a single campaign file: then that campaign is checked, with the site and the groups
    of the folder it lies in, or alone (no target groups, no site) where there is none. *env*: where a key
    ``from_env`` will be looked up; a variable that is set must be usable as a key, and may be missing.
    """
    path = Path(path)
    if path.is_dir():
        folder = _Folder(path)
        return folder.definitions(env)
    if not path.is_file():
        raise InvalidFiles([Problem(str(path), 1, 1, "", "there is no such file or folder")])
    return _load_campaign(path)


class Examined(NamedTuple):
    """What a folder came to: ``definitions`` where nothing is wrong, and ``problems``, warnings among them."""

    definitions: Definitions | None
    problems: tuple[Problem, ...]


def examine(path: Path, env: Mapping[str, str], now: datetime) -> Examined:
    """Return what `load` would, and every problem instead of raising; for a folder, with what can hardly be meant."""
    try:
        if not path.is_dir():
            return Examined(load(path, env), ())
        folder = _Folder(path)
        definitions = folder.definitions(env)
    except InvalidFiles as error:
        return Examined(None, error.problems)
    found = doubts(definitions.site, definitions.campaigns, now)
    warnings = {replace(folder.placed(field, message), level="warning") for field, message in found}
    return Examined(definitions, tuple(sorted(warnings)))


class _Folder:
    """What could be read of a folder, and every problem on the way."""

    def __init__(self, path: Path, *, with_campaigns: bool = True) -> None:
        self.path = path
        self.problems: list[Problem] = []
        # Events and groups whose file is broken exist all the same, as far as a campaign is concerned.
        self.other_events: list[Event] = []
        self.has_unknown_events = False
        self.site = self._site()
        self.events = [event for file in self._files("events") if (event := self._event(file))]
        self.other_groups: set[str] = set()
        self.groups = [group for file in self._files("groups") if (group := self._group(file))]
        self.campaigns = []
        if with_campaigns:
            self.campaigns = [one for file in self._files("campaigns") if (one := self._read(file, Campaign))]
            self._refuse_misplaced()

    def definitions(self, env: Mapping[str, str]) -> Definitions:
        """Return it all, checked together."""
        if self.site is not None:
            self._check_keys(self.site, env)
        found = cross_check(
            self.site.value if self.site else None,
            self.known_events(),
            [group.value for group in self.groups],
            [campaign.value for campaign in self.campaigns],
            other_groups=self.other_groups,
        )
        for field, message in found:
            self.problems.append(self.placed(field, message))
        if self.problems or self.site is None:
            raise InvalidFiles(self.problems)
        return Definitions(
            site=self.site.value,
            events=tuple(event.value for event in self.events),
            groups=tuple(group.value for group in self.groups),
            campaigns=tuple(campaign.value for campaign in self.campaigns),
        )

    def known_events(self) -> list[Event]:
        """Return all events, and behind them those of which nothing but the name could be read.

        None at all where not even that could be: then nobody can say which event is not defined.
        """
        if self.has_unknown_events:
            return []
        known = [event.value for event in self.events]
        return known + [event for event in self.other_events if event.name not in {each.name for each in known}]

    def placed(self, field: str, message: str) -> Problem:
        """Return a problem of all definitions as one of the file it is in."""
        if self.site is not None and field.startswith("site."):
            return self.site.source.problem(field.removeprefix("site."), message)
        found = re.match(r"(events|groups|campaigns)\[(\d+)\]\.", field)
        if not found:
            return Problem(str(self.path), 1, 1, field, message)
        kinds = {"events": self.events, "groups": self.groups, "campaigns": self.campaigns}
        return kinds[found[1]][int(found[2])].source.problem(field[found.end() :], message)

    def _files(self, kind: str) -> list[Path]:
        files = self._listed(self.path / kind)
        for file in files:
            if file.suffix == ".yml":
                self.problems.append(Problem(str(file), 1, 1, "", "is not read: rename it to end in .yaml"))
        return [file for file in files if file.suffix == ".yaml"]

    def _listed(self, folder: Path) -> list[Path]:
        """Return what is in *folder*: nothing where there is none. One that cannot be read is not an empty one."""
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            self.problems.append(Problem(str(folder), 1, 1, "", f"cannot be read: {error.strerror}"))
            return []

    def _refuse_misplaced(self) -> None:
        for file in self._listed(self.path):
            if file.suffix in (".yaml", ".yml") and file.name != "site.yaml":
                message = "is not read: campaigns lie in campaigns/, target groups in groups/, events in events/"
                self.problems.append(Problem(str(file), 1, 1, "", message))

    def _site(self) -> _Loaded | None:
        file = self.path / "site.yaml"
        if not file.is_file():
            message = "is missing: a folder of definitions needs it, with 'id', 'name' and 'keys' of the site"
            self.problems.append(Problem(str(file), 1, 1, "", message))
            return None
        return self._read(file, Site)

    def _read(self, file: Path, model: type[Model]) -> _Loaded | None:
        try:
            source = read(file)
            return _Loaded(source, _validated(source, model, source.data))
        except InvalidFiles as error:
            self.problems += error.problems
            return None

    def _event(self, file: Path) -> _Loaded | None:
        name = None
        try:
            source = read(file)
            name = source.data.get("name") if isinstance(source.data, dict) else None
            return _Loaded(source, _validated(source, Event, source.data))
        except InvalidFiles as error:
            self.problems += error.problems
            if isinstance(name, str) and name:
                self.other_events.append(Event.model_construct(name=name, attributes=None))
            else:
                self.has_unknown_events = True
            return None

    def _group(self, file: Path) -> _Loaded | None:
        name = file.stem
        try:
            source = read(file)
            data = source.data
            if isinstance(data, dict):
                name = data["id"] if isinstance(data.get("id"), str) else name
                if isinstance(data.get("list"), str) and data["list"] != UPLOADED:
                    data = {**data, "list": self._users(source, data["list"])}
            return _Loaded(source, _validated(source, TargetGroup, data))
        except InvalidFiles as error:
            self.problems += error.problems
            self.other_groups.add(name)
            return None

    def _users(self, source: Source, name: str) -> list[str]:
        """Return the user ids of the file *name*, which lies beside the group's, or is relative to the folder."""
        places = (Path(source.file).parent / name, self.path / name)
        if Path(name).is_absolute() or not any(_is_below(file, self.path) for file in places):
            raise InvalidFiles([source.problem("list", f"'{name}' lies outside of the folder {self.path}")])
        file = next((file for file in places if _is_below(file, self.path) and file.is_file()), None)
        if file is None:
            message = f"there is no file '{name}', neither beside this one nor in {self.path}"
            raise InvalidFiles([source.problem("list", message)])
        return user_list.read(file)

    def _check_keys(self, site: _Loaded, env: Mapping[str, str]) -> None:
        for number, key in enumerate(site.value.keys):
            value = env.get(key.from_env or "")
            if key.from_env is not None and value is not None and not re.fullmatch(r"\S+", value):
                message = f"the environment variable {key.from_env} is empty or has spaces in it"
                self.problems.append(site.source.problem(f"keys[{number}].from_env", message))


def _is_below(file: Path, folder: Path) -> bool:
    return file.resolve().is_relative_to(folder.resolve())


def _validated(source: Source, model: type[Model], data: Any) -> Model:
    found: dict[str, list[str]] = {}
    value: Model | None = None
    try:
        value = validate(model, data)
    except InvalidDefinitions as error:
        for each in error.problems:
            found.setdefault(each.field, []).append(each.message)
    # To the models null is the same as nothing; in a file it is a line that somebody forgot to finish.
    found |= {field: ["is empty: write a value, or remove the line"] for field in _empty(data)}
    if found or value is None:
        raise InvalidFiles(
            [source.problem(field, message) for field, messages in found.items() for message in messages]
        )
    return value


def _empty(data: Any, field: str = "") -> Iterator[str]:
    """Yield the fields without a value; conditions, which have a word of their own for it, are left out."""
    if data is None:
        yield field
    elif isinstance(data, dict):
        for name, value in data.items():
            if name not in ("where", "rule") or value is None:
                yield from _empty(value, f"{field}.{name}" if field else str(name))
    elif isinstance(data, list):
        for number, value in enumerate(data):
            yield from _empty(value, f"{field}[{number}]")


def _load_campaign(path: Path) -> Definitions:
    folder = path.resolve().parent.parent
    if path.name == "site.yaml" or path.resolve().parent.name in ("groups", "events"):
        message = "is no campaign: give the whole folder to check it"
        raise InvalidFiles([Problem(str(path), 1, 1, "", message)])
    source = read(path)
    campaign = _validated(source, Campaign, source.data)
    # Not validated where there is no site to speak of, and nobody to say whether the groups exist.
    stand_in = Site.model_construct(id="unpublished", name="unpublished", keys=())
    if path.resolve().parent.name != "campaigns" or not (folder / "site.yaml").is_file():
        return Definitions(site=stand_in, events=(), groups=(), campaigns=(campaign,))
    # Of the rest of the folder only as much as is needed: its own problems are not this file's.
    around = _Folder(folder, with_campaigns=False)
    groups = tuple(group.value for group in around.groups)
    site = around.site.value if around.site else None
    events = around.known_events()
    found = cross_check(site, events, groups, [campaign], other_groups=around.other_groups)
    own = [source.problem(field.partition(".")[2], text) for field, text in found if field.startswith("campaigns")]
    if own:
        raise InvalidFiles(own)
    return Definitions(site=site or stand_in, events=tuple(events), groups=groups, campaigns=(campaign,))
