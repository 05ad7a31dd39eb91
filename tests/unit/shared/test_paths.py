"""Attributes as trackers really send them: lists of objects, flat dotted names, names with `$`, ids of two types.

The class of fault: a condition cannot say, or silently never finds, what an event has. Conditions, `per` and what the
Gateway passes on read one path.
"""

from typing import Any

import pytest

from decider.event_index import EventIndex, run_name
from definitions.checks.attributes import attribute_error
from definitions.model.event import Attribute
from shared.conditions.parsing import parse_condition
from shared.conditions.predicate import compile_predicate
from shared.errors import InvalidDefinition
from shared.ruleset import Ruleset
from tests.support.builders import compiled

CART = {"products": [{"category": "hats", "price": 5}, {"category": "shoes", "tags": ["new"]}, 7, None]}


@pytest.mark.parametrize(
    ("condition", "attributes", "holds"),
    [
        ({"products[].category": "shoes"}, CART, True),
        ({"products[].category": "coats"}, CART, False),
        ({"products[].price": {"gte": 5}}, CART, True),
        ({"products[].category": {"ne": "hats"}}, CART, True),
        ({"products[].tags[]": "new"}, CART, True),
        ({"products[].tags": {"contains": "new"}}, CART, True),
        ({"products[].size": {"exists": False}}, CART, True),
        ({"products[].price": {"exists": False}}, CART, False),
        ({"products[].category": "shoes"}, {"products": {"category": "shoes"}}, False),
        ({"products[].category": "shoes"}, {"products": []}, False),
        ({"products[].category": {"ne": "shoes"}}, {}, False),
        ({"cart.products[].sku": "s"}, {"cart": {"products": [{"sku": "s"}]}}, True),
        ({"cart.products[].sku": "s"}, {"cart.products": [{"sku": "s"}]}, True),
        ({"tags[]": "new"}, {"tags": ["old", "new"]}, True),
        ({"none_of": [{"products[].category": "shoes"}]}, CART, False),
        ({"cart.total": 7}, {"cart.total": 7}, True),
        ({"cart.total": 7}, {"cart.total": 7, "cart": {"total": 8}}, True),
        ({"cart.total.net": 7}, {"cart": {"total.net": 7}}, True),
        ({"cart.total.net": 7}, {"cart.total": {"net": 7}}, True),
        ({"cart.total": {"exists": False}}, {"cart": 7}, True),
        ({"$current_url": {"contains": "/buy"}}, {"$current_url": "https://x.example/buy"}, True),
        ({"page.$ref": "x"}, {"page": {"$ref": "x"}}, True),
    ],
)
def test_a_condition_finds_the_value(condition: dict[str, Any], attributes: dict[str, Any], holds: bool) -> None:
    """Any element of a list may meet it; a flat name goes before a nested one. The value travels to the Decider."""
    assert compile_predicate(parse_condition(condition))(attributes) is holds
    trigger = {"sequence": [{"event": "e", "where": condition}]}
    index = EventIndex(Ruleset(site="demo", version=1, keys=[], campaigns=[compiled(trigger)]))
    sent = {name: attributes[name] for name in index.catalogue()["e"] if name in attributes}
    assert bool(index.lookup("e", sent)) is holds


@pytest.mark.parametrize("name", ["[]", "a[][]", "a[]b", "[].a", "a.[]", "a..b"])
def test_a_wrong_path_is_refused(name: str) -> None:
    """Brackets stand once, behind a name."""
    with pytest.raises(InvalidDefinition):
        parse_condition({name: 1})


@pytest.mark.parametrize("name", ["orders[].total", "$vip", "a.$b"])
def test_rules_of_groups_have_names_that_mongodb_knows(name: str) -> None:
    """A target group reads customers, not events."""
    with pytest.raises(InvalidDefinition):
        parse_condition({name: 1}, dates=True)


def test_seven_is_one_cart_however_it_is_written() -> None:
    """A number and its text name one run; true is not "true", and other texts stay apart."""
    assert {run_name(["id"], {"id": each}) for each in (7, 7.0, "7")} == {'["7"]'}
    assert run_name(["id"], {"id": 1.5}) == run_name(["id"], {"id": "1.5"})
    assert len({run_name(["id"], {"id": each}) for each in (True, "true", 1, "07", "7.0")}) == 5
    assert run_name(["cart.id"], {"cart.id": 7}) == run_name(["cart.id"], {"cart": {"id": "7"}}) == '["7"]'
    assert run_name(["id"], {"id": [7]}) is None


def test_a_run_has_one_value() -> None:
    """`per` cannot name the elements of a list: such an event would belong to no run."""
    with pytest.raises(ValueError, match=r"per.*products\[\]\.sku|products\[\]\.sku.*per|several values"):
        compiled({"sequence": [{"event": "e"}], "per": "products[].sku"})


def test_check_knows_paths_and_suggests_near_ones() -> None:
    """A declared list has parts of any name, unless its parts are declared."""
    known = {
        "products": Attribute(type="list"), "products[].category": Attribute(type="text"),
        "tags": Attribute(type="list"), "total": Attribute(type="number"),
    }  # fmt: skip
    for right in ("products[].category", "tags[]", "tags[].name"):
        assert attribute_error(right, known, "event 'e'") is None
    assert "did you mean 'products[].category'?" in str(attribute_error("products[].categroy", known, "event 'e'"))
    assert "has no elements" in str(attribute_error("total[].x", known, "event 'e'"))
    assert "has no attribute" in str(attribute_error("produkts[].category", known, "event 'e'"))
