"""Versions of definitions in a real MongoDB: all or nothing, wherever a process dies; and rollbacks."""

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from definitions.publishing import versions
from definitions.publishing.publish import roll_back
from definitions.publishing.versions import PublishConflict, UnknownVersion
from opportune.authoring.publishing import refresh_targets
from shared import mongodb as store
from shared.contracts import WriteKey, write_key
from shared.errors import InvalidRequest
from tests.support.definitions import load_definitions, publish
from tests.support.dying import Dying, Killed

Db = Database[dict[str, Any]]
KEY = write_key("wk_public")


def folder(path: Path, edition: str) -> Path:
    """Write definitions whose campaign, rule, list and site all have the name of the *edition*."""
    for name, text in {
        "site.yaml": f"id: shop\nname: {edition}\nkeys: [{{kind: public, key: wk_public}}]\n",
        "groups/ruled.yaml": f"id: ruled\nrule: {{edition: {edition}}}\n",
        "groups/listed.yaml": "id: listed\nlist: users.csv\n",
        "users.csv": "".join(f"{edition}-{number}\n" for number in range(3)),
        "campaigns/c.yaml": f"id: c\nname: {edition}\ntargets: [ruled, listed]\ntrigger: {{sequence: [{{event: a}}]}}\n"
        "channel: popup\ncontent: {title: Hello}\n",
    }.items():
        file = path / edition / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path / edition


def editions(database: Db) -> set[str]:
    """Return the editions that functions and refreshes read now: exactly one, unless a publish was torn."""
    version = store.read_pointers(database)["shop"].ruleset
    (campaign,) = store.read_ruleset(database, "shop", version).campaigns
    groups = store.read_target_groups(database, "shop", version)
    rule, listed = groups["ruled"].rule, groups["listed"].list
    assert rule is not None
    assert listed is not None
    members = [row["_id"]["user"] for row in database.list_members.find(store.filter_list_members("shop", listed))]
    assert len(members) == 3
    source = versions.read(database, "shop", version).source
    found = {campaign.name, rule["edition"], source["site"]["name"], source["campaigns"][0]["name"]}
    return found | {user.split("-")[0] for user in members}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_publish_that_dies_anywhere_changes_nothing_or_everything(mongodb: Db, tmp_path: Path, after: bool) -> None:
    """After a death at any write, readers see all of the old edition or all of the new; the next publish works."""
    publish(mongodb, load_definitions(folder(tmp_path, "old")), [KEY])
    of_old = store.read_target_groups(mongodb, "shop", 1)["listed"].list
    new, died, seen = load_definitions(folder(tmp_path, "new")), 0, []
    for step in range(1, 100):
        dying: Any = Dying(mongodb, [step], after=after)
        try:
            publish(dying, new, [KEY])
        except Killed:
            died += 1
            seen.append(editions(mongodb))
            publish(mongodb, load_definitions(tmp_path / "old"), [KEY])
            assert editions(mongodb) == {"old"}
            mongodb.lists.delete_many({"list": {"$ne": of_old}})
            mongodb.list_members.delete_many({"_id.list": {"$ne": of_old}})
        else:
            break
    assert died == 5  # the members, their note, the ruleset, the definitions, the pointer
    whole = [{"old"}, {"new"}]
    assert all(each in whole for each in seen)
    assert seen.count({"new"}) == (1 if after else 0)  # only the last write makes it live
    assert editions(mongodb) == {"new"}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_rollback_that_dies_anywhere_changes_nothing_or_everything(mongodb: Db, tmp_path: Path, after: bool) -> None:
    """A rollback is as atomic as a publish."""
    for edition in ("old", "new"):
        publish(mongodb, load_definitions(folder(tmp_path, edition)), [KEY])
    for step in range(1, 100):
        dying: Any = Dying(mongodb, [step], after=after)
        try:
            roll_back(dying, "shop", 1)
        except Killed:
            assert editions(mongodb) == ({"old"} if after and step == 3 else {"new"})
            publish(mongodb, load_definitions(tmp_path / "new"), [KEY])
        else:
            break
    assert step == 4
    assert editions(mongodb) == {"old"}


def test_a_refused_publish_leaves_groups_and_lists_as_they_are(mongodb: Db, tmp_path: Path) -> None:
    """Another publish was faster, so a refresh reads neither rule nor list of the refused edition."""
    publish(mongodb, load_definitions(folder(tmp_path, "old")), [KEY])
    mongodb.customers.insert_one({"_id": "shop:x", "site": "shop", "user": "x", "attributes": {"edition": "refused"}})

    class Overtaken(Dying):
        """Publishes another edition just before the pointer moves."""

        def _write(self, write: Any, *args: Any, **options: Any) -> Any:
            if self._real.name == "control":
                publish(mongodb, load_definitions(folder(tmp_path, "faster")), [KEY])
            return write(*args, **options)

        def __getattr__(self, name: str) -> Any:
            found = super().__getattr__(name)
            return Overtaken(found._real, self._fate, after=False) if isinstance(found, Dying) else found

    overtaken: Any = Overtaken(mongodb, [0], after=False)
    with pytest.raises(PublishConflict, match="another publish of shop was faster"):
        publish(overtaken, load_definitions(folder(tmp_path, "refused")), [KEY])
    assert editions(mongodb) == {"faster"}
    assert refresh_targets(mongodb, "shop").users == 3
    assert [each.version for each in versions.history(mongodb, "shop")] == [3, 1]


def test_readers_never_see_a_mixture_while_many_publish_and_roll_back(mongodb: Db, tmp_path: Path) -> None:
    """With concurrent publishers, rollbacks and readers, one whole edition is live, and the history is complete."""
    names = ["one", "two", "three"]
    defined = {name: load_definitions(folder(tmp_path, name)) for name in names}
    publish(mongodb, defined["one"], [KEY])
    publish(mongodb, defined["two"], [KEY])
    over, seen, done = threading.Event(), list[set[str]](), list[int]()

    def read() -> None:
        while not over.is_set():
            seen.append(editions(mongodb))

    def write(name: str) -> None:
        for _ in range(6):
            with contextlib.suppress(PublishConflict):
                published = publish(mongodb, defined[name], [KEY])
                if published.changed:
                    done.append(published.version)
            with contextlib.suppress(PublishConflict):
                back = roll_back(mongodb, "shop")
                if back.changed:
                    done.append(back.version)

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=write, args=(name,)) for name in names]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    reader.join()
    assert seen
    assert all(len(each) == 1 for each in seen)
    past = [each.version for each in versions.history(mongodb, "shop")]
    assert past == sorted(set(past), reverse=True)
    assert set(done) <= set(past)
    assert len(past) == len(set(done)) + 2


def test_an_old_version_comes_back_as_a_new_one(mongodb: Db, tmp_path: Path) -> None:
    """Its groups and lists come back too. The default is the version before; a repeated rollback changes nothing."""
    for edition in ("one", "two", "three"):
        publish(mongodb, load_definitions(folder(tmp_path, edition)), [KEY])
    back = roll_back(mongodb, "shop", 1)
    assert (back.version, back.of, editions(mongodb)) == (4, 1, {"one"})
    assert roll_back(mongodb, "shop", 1).version == 4
    again = roll_back(mongodb, "shop")
    assert (again.version, again.of) == (5, 3)
    assert editions(mongodb) == {"three"}
    assert [(each.version, each.of) for each in versions.history(mongodb, "shop")] == [
        (5, 3), (4, 1), (3, 0), (2, 0), (1, 0),
    ]  # fmt: skip
    # Lists never change, so they are written once, however often they are live.
    assert mongodb.lists.count_documents({}) == 3
    assert mongodb.list_members.count_documents({}) == 9


def test_an_old_version_does_not_bring_revoked_keys_back(mongodb: Db, tmp_path: Path) -> None:
    """The current keys stay, so that a revoked key does not come back with an old campaign."""
    leaked, fresh = write_key("wk_leaked"), write_key("wk_fresh")
    publish(mongodb, load_definitions(folder(tmp_path, "one")), [leaked])
    publish(mongodb, load_definitions(folder(tmp_path, "two")), [fresh])
    version = roll_back(mongodb, "shop", 1).version
    keys: list[WriteKey] = store.read_ruleset(mongodb, "shop", version).keys
    assert keys == [fresh]


def test_an_old_version_does_not_bring_identity_keys_back(mongodb: Db, tmp_path: Path) -> None:
    """A revoked key stays revoked, and a new key stays; the site's name comes back."""
    for edition, key in (("one", "leaked"), ("two", "fresh")):
        site = folder(tmp_path, edition) / "site.yaml"
        site.write_text(site.read_text() + f"identity: {{keys: [{{id: {key}, algorithm: HS256}}]}}\n")
        publish(mongodb, load_definitions(tmp_path / edition), [KEY])
    version = roll_back(mongodb, "shop", 1).version
    assert [key.id for key in store.read_ruleset(mongodb, "shop", version).identity.keys] == ["fresh"]
    written = versions.read(mongodb, "shop", version).source["site"]
    assert (written["name"], written["identity"]["keys"][0]["id"]) == ("one", "fresh")


def test_versions_that_never_were_are_refused(mongodb: Db, tmp_path: Path) -> None:
    """The version of an unfinished publish was never live, and there is no version before the first."""
    with pytest.raises(InvalidRequest, match="shop"):
        roll_back(mongodb, "shop")
    publish(mongodb, load_definitions(folder(tmp_path, "one")), [KEY])
    with pytest.raises(UnknownVersion, match="no version before"):
        roll_back(mongodb, "shop")
    dying: Any = Dying(mongodb, [5], after=False)
    with pytest.raises(Killed):
        publish(dying, load_definitions(folder(tmp_path, "two")), [KEY])
    assert mongodb.definitions.count_documents({}) == 2
    with pytest.raises(UnknownVersion, match="version 2 of shop was never live"):
        roll_back(mongodb, "shop", 2)
    assert publish(mongodb, load_definitions(tmp_path / "two"), [KEY]).version == 3


def test_what_is_too_large_is_refused_with_a_reason(mongodb: Db, tmp_path: Path) -> None:
    """MongoDB's documents hold up to 16 MB; the live version stays."""
    path = folder(tmp_path, "one")
    publish(mongodb, load_definitions(path), [KEY])
    file = path / "campaigns" / "c.yaml"
    file.write_text(file.read_text().replace("title: Hello", f"title: Hello, html: {'x' * 190_000}"))
    defined = load_definitions(path)
    (campaign,) = defined.campaigns
    many = [campaign.model_copy(update={"id": f"c{number}"}) for number in range(90)]
    with pytest.raises(Exception, match="16 MB"):
        publish(mongodb, defined._replace(campaigns=(campaign, *many)), [KEY])
    assert editions(mongodb) == {"one"}
