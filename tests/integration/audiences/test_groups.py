"""Listing, explaining and uploading target groups on a real MongoDB."""

from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from definitions.loading.problems import InvalidFiles
from opportune.audiences import groups
from shared.errors import InvalidRequest
from shared.ruleset import TargetGroup
from tests.support.sites import NOW, crowd, listed, made, one, publish, rule, targets

Db = Database[dict[str, Any]]


@pytest.fixture(name="shop")
def _shop(mongodb: Db) -> Db:
    """Return a site with twelve customers and a group of each kind."""
    crowd(mongodb, 12)
    publish(
        mongodb,
        rule("vips", tier="vip"),
        rule("young", age={"lt": 30}),
        listed(mongodb, "testers", "u00001", "u00002"),
        TargetGroup("readers", uploaded=True),
        made("young-vips", all_of=["vips", "young"], none_of=["testers"]),
        campaigns={"boost": ["young-vips"], "hello": ["vips"]},
    )
    return mongodb


def explain(database: Db, name: str) -> groups.GroupExplanation:
    """Return the explanation of a group."""
    return groups.explain_group(database, "demo", name, lambda: NOW)


def test_the_list_has_sizes_and_campaigns(shop: Db) -> None:
    """Sizes are unknown before the first refresh. Afterwards combinations have sizes too."""
    assert {line.users for line in groups.list_groups(shop, "demo")} == {None}
    one(shop)
    found = {line.group: line[1:] for line in groups.list_groups(shop, "demo")}
    assert found == {
        "vips": ("rule", 6, ["boost", "hello"]),
        "young": ("rule", 4, ["boost"]),
        "testers": ("list", 2, ["boost"]),
        "readers": ("uploaded list", 0, []),
        "young-vips": ("combination", 2, ["boost"]),
    }


def test_a_rule_is_explained_with_its_query_plan(shop: Db) -> None:
    """Size and sample are current, and the plan is that of a refresh."""
    shop.customers.insert_one({"_id": "other:x", "site": "other", "user": "x", "attributes": {"tier": "vip"}})
    found = explain(shop, "vips")
    assert (found.users, found.sample, found.generation) == (6, [f"u{n:05}" for n in range(0, 10, 2)], 0)
    assert found.plan is not None
    assert found.plan[:3] == ("_id_", 12, 12), "it reads no customers of other sites"


def test_a_combination_is_explained_from_the_targets(shop: Db) -> None:
    """Its users come from the current generation. Without one, the error names the command to run."""
    with pytest.raises(InvalidRequest, match="opportune targets refresh --site demo"):
        explain(shop, "young-vips")
    generation = one(shop).generation
    found = explain(shop, "young-vips")
    assert (found.users, found.generation) == (2, generation)
    assert sorted(found.sample) == sorted(
        user for user, names in targets(shop).items() if {"vips", "young"} <= {*names} and "testers" not in names
    )
    assert found.made == {"all_of": ["vips", "young"], "none_of": ["testers"]}
    assert found.plan is None


def test_an_uploaded_list_replaces_the_previous_one(shop: Db, tmp_path: Path) -> None:
    """Repeated ids count once. Uploading the same list again changes nothing."""
    file = tmp_path / "readers.txt"
    assert explain(shop, "readers").users == 0
    file.write_text("u00003\n\n u00004 \nu00003\n")
    assert groups.upload_list(shop, "demo", "readers", file) == (2, True)
    assert groups.upload_list(shop, "demo", "readers", file) == (2, False)
    found = explain(shop, "readers")
    assert (found.users, found.sample) == (2, ["u00003", "u00004"])
    assert one(shop).users == 9
    file.write_text("u00005\n")
    groups.upload_list(shop, "demo", "readers", file)
    assert one(shop, "changed").found == ("readers",)
    assert [user for user, names in targets(shop).items() if "readers" in names] == ["u00005"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ":1:1: contains no user id"),
        ("user_id\n", ":1:1: contains no user id"),
        ("u1\nu2,x\n", ":2:1: has several columns"),
        (f"ok\n{'x' * 257}\n", ":2:1: 'user id' is longer than 256 characters"),
        ("\n \n", "no user id"),
    ],
)
def test_an_invalid_list_changes_nothing(shop: Db, tmp_path: Path, text: str, error: str) -> None:
    """The error names the line, and the group keeps its users."""
    file = tmp_path / "readers.txt"
    file.write_text("u00003\n")
    groups.upload_list(shop, "demo", "readers", file)
    file.write_text(text)
    with pytest.raises(InvalidFiles, match=error):
        groups.upload_list(shop, "demo", "readers", file)
    file.write_bytes(b"caf\xe9\n")
    with pytest.raises(InvalidFiles, match="UTF-8"):
        groups.upload_list(shop, "demo", "readers", file)
    assert explain(shop, "readers").sample == ["u00003"]


@pytest.mark.parametrize(("name", "error"), [("vips", "has a rule"), ("nobody", "is not live")])
def test_only_groups_with_list_uploaded_accept_uploads(shop: Db, tmp_path: Path, name: str, error: str) -> None:
    """Otherwise the next publish would silently undo the upload."""
    file = tmp_path / "list.txt"
    file.write_text("anna\n")
    with pytest.raises(InvalidRequest, match=error):
        groups.upload_list(shop, "demo", name, file)


def test_the_error_for_an_unknown_group_lists_the_known_ones(shop: Db) -> None:
    """The message contains the ids of all live groups."""
    with pytest.raises(InvalidRequest, match=r"known: .*young-vips"):
        explain(shop, "vip")
