"""Load the YAML files of a site's definitions. `definitions.checks.check` checks them.

site.yaml            the site
events/*.yaml        an event per file: its name, its attributes, where the tag sends it
groups/*.yaml        a target group per file; a list of user ids may be a file beside it
campaigns/*.yaml     a campaign per file
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from definitions.loading import user_list
from definitions.loading.problems import InvalidFiles, Problem
from definitions.loading.yaml_source import Source, read
from definitions.model.group import UPLOADED
from shared.files import is_folder, is_missing, resolve

Scope = Literal["folder", "campaign", "lone campaign"]


@dataclass(frozen=True)
class Sources:
    """The parsed files of a site's definitions.

    ``scope``: a whole ``folder``, one ``campaign`` with the files that it refers to, or a ``lone campaign`` that
    is in no folder of definitions.
    ``problems``: what could not be read.
    ``has_unreadable_events``: an event file could not be read, so its event is unknown.
    ``unreadable_groups``: ids of groups whose files could not be read; campaigns may still target them.
    """

    path: Path
    scope: Scope
    site: Source | None = None
    events: tuple[Source, ...] = ()
    groups: tuple[Source, ...] = ()
    campaigns: tuple[Source, ...] = ()
    problems: tuple[Problem, ...] = ()
    has_unreadable_events: bool = False
    unreadable_groups: frozenset[str] = frozenset()


def load(path: Path) -> Sources:
    """Return the files of the folder *path*, or the campaign file *path*; raises nothing.

    A campaign in a folder of definitions comes with the folder's site, events and groups.
    """
    if is_folder(path):
        return _Loader(path).folder()
    parent = resolve(path).parent
    try:
        if is_missing(path):
            raise InvalidFiles([Problem(str(path), 1, 1, "", "there is no such file or folder")])
        if path.name == "site.yaml" or parent.name in ("groups", "events"):
            message = "is not a campaign file: give the whole folder to check it"
            raise InvalidFiles([Problem(str(path), 1, 1, "", message)])
        campaign = read(path)
    except InvalidFiles as error:
        return Sources(path, "lone campaign", problems=error.problems)
    if parent.name != "campaigns" or is_missing(parent.parent / "site.yaml"):
        return Sources(path, "lone campaign", campaigns=(campaign,))
    # The user asked about this file only, so the problems of the other files are dropped.
    around = _Loader(parent.parent).surroundings()
    return replace(around, path=path, scope="campaign", campaigns=(campaign,), problems=())


class _Loader:
    """Reads a folder and collects every problem."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._problems: list[Problem] = []
        self._has_unreadable_events = False
        self._unreadable_groups: set[str] = set()

    def folder(self) -> Sources:
        """Return all files of the folder."""
        around = self.surroundings()
        campaigns = [source for file in self._files("campaigns") if (source := self._read(file))]
        self._refuse_misplaced()
        return replace(around, campaigns=tuple(campaigns), problems=tuple(self._problems))

    def surroundings(self) -> Sources:
        """Return the files that a campaign may refer to: site, events and groups."""
        site = self._site()
        events = [source for file in self._files("events") if (source := self._event(file))]
        groups = [source for file in self._files("groups") if (source := self._group(file))]
        return Sources(
            self._path,
            "folder",
            site=site,
            events=tuple(events),
            groups=tuple(groups),
            problems=tuple(self._problems),
            has_unreadable_events=self._has_unreadable_events,
            unreadable_groups=frozenset(self._unreadable_groups),
        )

    def _files(self, kind: str) -> list[Path]:
        files = self._listed(self._path / kind)
        for file in files:
            if file.suffix == ".yml":
                self._refuse(file, "is not read: rename it to end in .yaml")
        return [file for file in files if file.suffix == ".yaml"]

    def _listed(self, folder: Path) -> list[Path]:
        """Return what is in *folder*. A missing folder is empty; one that cannot be read is a problem."""
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            self._refuse(folder, f"cannot be read: {error.strerror}")
            return []

    def _refuse(self, file: Path, message: str) -> None:
        self._problems.append(Problem(str(file), 1, 1, "", message))

    def _refuse_misplaced(self) -> None:
        for file in self._listed(self._path):
            if file.suffix in (".yaml", ".yml") and file.name != "site.yaml":
                message = "is not read: move campaigns to campaigns/, target groups to groups/, events to events/"
                self._refuse(file, message)

    def _read(self, file: Path) -> Source | None:
        try:
            return read(file)
        except InvalidFiles as error:
            self._problems += error.problems
            return None

    def _site(self) -> Source | None:
        file = self._path / "site.yaml"
        if not is_missing(file):
            return self._read(file)
        self._refuse(file, "is missing: a folder of definitions needs it, with 'id', 'name' and 'keys' of the site")
        return None

    def _event(self, file: Path) -> Source | None:
        source = self._read(file)
        self._has_unreadable_events |= source is None
        return source

    def _group(self, file: Path) -> Source | None:
        """Return a group's file, with the user ids of the list that it names."""
        source = self._read(file)
        if source is None:
            self._unreadable_groups.add(file.stem)
            return None
        data: Any = source.data
        if isinstance(data, dict) and isinstance(data.get("list"), str) and data["list"] != UPLOADED:
            try:
                source.data = {**data, "list": self._users(source, data["list"])}
            except InvalidFiles as error:
                self._problems += error.problems
                self._unreadable_groups.add(data["id"] if isinstance(data.get("id"), str) else file.stem)
                return None
        return source

    def _users(self, source: Source, name: str) -> list[str]:
        """Return the user ids in the file *name*, which is relative to the group's file or to the folder."""
        places = (Path(source.file).parent / name, self._path / name)
        if Path(name).is_absolute() or not any(_is_below(file, self._path) for file in places):
            raise InvalidFiles([source.problem("list", f"'{name}' is outside of the folder {self._path}")])
        file = next((file for file in places if _is_below(file, self._path) and not is_missing(file)), None)
        if file is None:
            message = f"there is no file '{name}', neither beside this one nor in {self._path}"
            raise InvalidFiles([source.problem("list", message)])
        return user_list.read(file)


def _is_below(file: Path, folder: Path) -> bool:
    return resolve(file).is_relative_to(resolve(folder))
