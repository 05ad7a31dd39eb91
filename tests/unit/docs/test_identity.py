"""docs/identity.md says what is so: its tables are those of the code, its examples prove what they say."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from definitions.loading.yaml_source import Source
from definitions.model.field_errors import validate
from definitions.model.identity import IdentityKey as Written
from definitions.model.site import Site
from gateway import identity, identity_policy, visitor_proof
from gateway.identity import Verified, Verifier
from shared.identities import POPUP_EVENTS, Identity, IdentityKey
from shared.signing import identity_key
from tests.support.identity_edge import TRAITS, Edge, hashed
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "identity.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")
SECRET = "0123456789abcdef0123456789abcdef"


def rows(header: str) -> list[list[str]]:
    """Return the rows of the table whose first column is *header*."""
    (table,) = re.findall(rf"^\| {re.escape(header)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", TEXT, flags=re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]


def blocks(kind: str) -> list[str]:
    """Return the blocks of code of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, flags=re.MULTILINE | re.DOTALL)


def sources(*modules: Any) -> str:
    """Return the text of modules."""
    return "".join(Path(module.__file__).read_text(encoding="utf-8") for module in modules)


def test_every_reason_is_listed() -> None:
    """And none that there is not."""
    code = sources(identity, identity_policy, visitor_proof)
    reasons = set(re.findall(r'Unverified\("(\w+)"\)', code)) | set(re.findall(r'reason = "(\w+)"', code))
    assert {row[0].strip("`") for row in rows("reason")} == reasons | {identity_policy.UNREADABLE}


def test_every_algorithm_is_listed() -> None:
    """As the definitions know them."""
    known = set(Written.model_fields["algorithm"].annotation.__args__)  # type: ignore[union-attr]
    assert {name for row in rows("`algorithm`") for name in re.findall(r"`(\w+)`", row[0])} == known


def test_every_report_is_listed() -> None:
    """With what it is in the ledger."""
    assert {row[0].strip("`"): re.findall(r"`(\w+)`", row[1])[0] for row in rows("event")} == POPUP_EVENTS


WORDS = {"never": (False, False), "with a proof": (False, True), "always": (True, True)}


@pytest.mark.parametrize("row", rows("`identity` of the key"), ids=lambda row: row[0])
def test_the_table_of_modes_is_what_the_gateway_does(row: list[str]) -> None:
    """Events, links and traits of each mode, without a proof and with one."""
    mode, events, links, traits = row
    key = f"wk_{mode.strip('`')}"
    for proven, context in enumerate([{}, hashed()]):
        edge = Edge()
        event = edge.event(key, userId="anna", anonymousId="v", context=context)
        assert event.user == ("anna" if proven or events == "the user it names" else "anon:v")
        edge.post(key, "/v1/identify", userId="anna", anonymousId="v", traits=TRAITS, context=context)
        introduced = edge.identifications()
        assert bool(introduced) == WORDS[links][proven]
        assert any(each.traits for each in introduced) == WORDS[traits][proven]


def test_the_examples_of_servers_prove_the_user() -> None:
    """What they make is believed."""
    keys = {"spring-2026": "HS256", "start": "user_hash"}
    verifier = Verifier(
        "shop",
        Identity([IdentityKey(name, algorithm) for name, algorithm in keys.items()]),
        "wk_shop_public",
        round(time.time() * 1000),
        lambda: SECRET,
    )
    made: dict[str, Any] = {}
    for name, example in zip([*keys, "start"], blocks("python"), strict=True):
        made["SECRET"] = identity_key(SECRET, "shop", name)
        exec(compile(example, DOCUMENT.name, "exec"), made)  # noqa: S102 - it is our own document
    assert verifier.verify("anna", {"identity_token": made["token"]}) == Verified({})
    assert verifier.verify("anna", {"user_hash": made["user_hash"]}) == Verified({})
    assert verifier.verify_text("anon:4f2a", made["proof"]) == Verified({})


def test_the_examples_of_files_are_valid() -> None:
    """Together they are a site."""
    whole = "id: shop\nname: Shop\n" + "".join(blocks("yaml"))
    site = validate(Site, Source("site.yaml", whole).data)
    assert site.keys[0].identity == "enforce"
    assert site.limits is not None
    assert site.identity is not None
    assert site.identity.visitor_cookie == "shop_visitor"
