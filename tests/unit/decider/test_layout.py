"""The positions and fields that the Lua scripts use are those of the Python structs."""

import re

import msgspec
import pytest

from decider import scripts
from decider.activations import Note, Reference
from decider.layout import CONSTANTS, PACKED, ROW, Outcome
from decider.policy import Limit, Rule
from decider.user_admin import LostProgress
from decider.user_state import ClaimedActivation, Firing
from tests.unit.decider.test_scripts import MODULES, SCRIPTS

STRUCTS = {"FIRING": Firing, "NOTE": Note, "REF": Reference}


@pytest.mark.parametrize(("table", "struct"), STRUCTS.items(), ids=STRUCTS)
def test_packed_lists_have_the_order_of_the_structs(table: str, struct: type[msgspec.Struct]) -> None:
    """`FIRING.gate` is where `Firing` has its gate, and so on."""
    assert PACKED[table] == struct.__struct_fields__


def test_limits_and_rules_have_the_order_of_the_policy() -> None:
    """The script reads what `Policy` sends."""
    assert (PACKED["LIMIT"], PACKED["RULE"]) == (Limit._fields, Rule._fields)


def test_lost_progress_is_listed_as_it_is_stored() -> None:
    """`inspect-user-1.lua` returns them after the trigger."""
    assert LostProgress.__struct_fields__ == ("trigger", *PACKED["LOST"])


def test_a_claimed_activation_is_what_the_header_says() -> None:
    """The header lists the fields in the order of the struct."""
    returns = scripts.source("claim-activation-4.lua").split("Returns", 1)[1].split("Atomic", 1)[0]
    (fields,) = re.findall(r"MessagePack of \{([^}]+)\}", returns)
    assert tuple(each.split()[0] for each in fields.split(", ")) == ClaimedActivation.__struct_fields__


def test_every_field_of_a_row_is_one_letter_and_its_own() -> None:
    """Rows stay small. Only progress has two characters, followed by the trigger's key."""
    assert sorted(map(len, ROW.values())) == [1] * (len(ROW) - 1) + [2]
    assert len({stored[0] for stored in ROW.values()}) == len(ROW)


def test_every_name_is_used() -> None:
    """An unused name would be stale."""
    text = "".join(map(scripts.source, [*SCRIPTS, *(f"include/{module}.lua" for module in MODULES)]))
    used = set(re.findall(rf"\b({'|'.join(CONSTANTS)})\.(\w+)", text))
    assert {("OUTCOME", outcome.name) for outcome in Outcome} <= used
    assert {("ROW", name) for name in ROW} <= used


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_loaded_script_has_numbers_and_no_names(name: str) -> None:
    """The names are replaced when a script is loaded, so Redis never looks one up."""
    code = re.sub(r"--\[\[.*?\]\]|--[^\n]*", "", scripts.Script(name).text, flags=re.DOTALL)
    assert not re.search(rf"\b({'|'.join(CONSTANTS)})\b", code)


def test_a_name_that_does_not_exist_stops_the_loading() -> None:
    """It fails when the function starts, not when its line runs."""
    with pytest.raises(KeyError):
        scripts.replace_constants("local gate = firing[FIRING.gates]")
