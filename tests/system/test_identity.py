"""What a visitor gets who claims to be anna, with and without proof, through the whole system."""

import itertools
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
import urllib3

from opportune.authoring import publishing
from shared.signing import identity_key
from tests.support.whole_system import System

KEY = "wk_club_public"
FILES = {
    "site.yaml": f"""
id: club
name: Club
keys: [{{kind: public, key: {KEY}, identity: enforce}}, {{kind: secret, from_env: CLUB_KEY}}]
sender: {{address: offers@casino.example}}
identity: {{keys: [{{id: spring, algorithm: HS256}}], traits: [first_name]}}
limits: {{events_per_user: {{max: 50, per: 1m}}}}
""",
    "groups/vips.yaml": "{id: vips, rule: {tier: vip}}",
    "campaigns/vip.yaml": """
id: vip
name: For VIPs
targets: [vips]
trigger: {sequence: [{event: vip_page}]}
channel: popup
content: {title: "For you, {{ customer.first_name }}"}
""",
    "campaigns/all.yaml": """
id: all
name: For all
targets: everyone
trigger: {sequence: [{event: page}]}
channel: popup
content: {title: "Hello {{ customer.first_name | default: 'you' }}"}
until_seen: true
""",
    "campaigns/mail.yaml": """
id: mail
name: A mail
targets: everyone
trigger: {sequence: [{event: cart}]}
channel: email
content: {subject: "Your cart", text: "{{ customer.first_name }}"}
""",
    "campaigns/wins.yaml": """
id: wins
name: Three wins
targets: everyone
trigger: {sequence: [{event: win, times: 3}], within: 10m}
channel: popup
content: {title: Three}
""",
}


class Club:
    """A site that enforces identity, as its pages see it."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.database = system.database
        self._pool = urllib3.PoolManager()
        self._ids = itertools.count()

    def proof(self, user: str, **claims: Any) -> dict[str, Any]:
        """Return a context with a valid token."""
        body = {"sub": user, "aud": KEY, "exp": int(time.time()) + 600, **claims}
        key = identity_key(self.system.stack.identity_secret, "club", "spring")
        return {"identity_token": jwt.encode(body, key, algorithm="HS256", headers={"kid": "spring"})}

    def call(self, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        """Post *body*; return status and response."""
        body = {"messageId": f"club-{next(self._ids)}", "writeKey": KEY, **body}
        response = self._pool.request("POST", self.system.stack.http_url + path, json=body)
        return response.status, response.json()

    def titles(self, event: str, **body: Any) -> list[str]:
        """Return the titles of the popups in the response to *event*."""
        status, answer = self.call("/v1/track", event=event, **body)
        assert status == 200, answer
        return [each["title"] for each in answer["messages"]]

    def rows(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return rows of the ledger, after the queues are empty."""
        self.system.stack.drain(20)
        return list(self.database.activations.find({"site": "club", **wanted}))


@pytest.fixture(name="club", scope="module")
def _club(system: System, tmp_path_factory: pytest.TempPathFactory) -> Club:
    folder: Path = tmp_path_factory.mktemp("club")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    attributes = {"tier": "vip", "first_name": "Anna", "email": "anna@casino.example"}
    system.database.customers.insert_one({"_id": "club:anna", "site": "club", "user": "anna", "attributes": attributes})
    publishing.publish_folder(system.database, folder, {"CLUB_KEY": "sk_club_secret"})
    publishing.refresh_targets(system.database, "club")
    club = Club(system)
    for _ in range(100):  # the Gateway loads a new site within its polling interval
        if club.call("/v1/track", event="nothing", anonymousId="x")[0] == 200:
            break
        time.sleep(0.1)
    return club


BAD: list[tuple[str, dict[str, Any]]] = [("none", {}), ("garbage", {"identity_token": "a.b.c"})]


@pytest.mark.parametrize(("name", "context"), BAD, ids=[name for name, _ in BAD])
def test_no_popup_for_a_target_group(club: Club, name: str, context: dict[str, Any]) -> None:
    """With a proof Anna, a VIP, gets the popup. Without one there is no popup, with or without a visitor's id."""
    assert club.titles("vip_page", userId="anna", context=club.proof("anna")) == ["For you, Anna"]
    assert club.titles("vip_page", userId="anna", anonymousId=f"v-{name}", context=context) == []
    assert club.call("/v1/track", event="vip_page", userId="anna", context=context)[0] == 400
    assert club.titles("vip_page", userId="anna", anonymousId="v", context=club.proof("berta")) == []


def test_popups_without_proof_are_not_personal(club: Club) -> None:
    """Without proof, a popup for everyone has no name, and the ledger has the visitor instead of the customer."""
    assert club.titles("page", userId="anna", anonymousId="p1") == ["Hello you"]
    assert club.titles("page", userId="anna", anonymousId="p1", context=club.proof("anna")) == ["Hello Anna"]
    assert {row["user"] for row in club.rows(campaign="all")} == {"anon:p1", "anna"}


def test_no_mail(club: Club) -> None:
    """An unproven cart in her name starts no e-mail to her; a proven one does."""
    club.titles("cart", userId="anna", anonymousId="m1")
    assert [(row["user"], row["state"], row["reason"]) for row in club.rows(campaign="mail")] == [
        ("anon:m1", "failed_final", "no_customer")
    ]
    club.titles("cart", userId="anna", anonymousId="m1", context=club.proof("anna"))
    assert [row["state"] for row in club.rows(campaign="mail", user="anna")] == ["sent"]


def test_no_profile_is_written(club: Club) -> None:
    """Without proof no profile is changed or created. With one, the offered traits and the token's are stored."""
    traits = {"first_name": "Eve", "tier": "gold"}
    for user in ("anna", "nobody"):
        assert club.call("/v1/identify", userId=user, anonymousId="w1", traits=traits)[0] == 400
    assert club.database.customers.count_documents({"_id": "club:nobody"}) == 0
    proof = club.proof("carl", traits={"plan": "pro"})
    assert club.call("/v1/identify", userId="carl", traits=traits, context=proof)[0] == 200
    stored = {
        user: (club.database.customers.find_one({"_id": f"club:{user}"}) or {})["attributes"]
        for user in ("anna", "carl")
    }
    assert stored["anna"]["first_name"] == "Anna"
    assert stored["carl"] == {"first_name": "Eve", "plan": "pro"}


def test_no_alias(club: Club) -> None:
    """An alias without proof has no effect. With a proof, the visitor's wins become the user's."""
    for _ in range(2):
        assert club.titles("win", anonymousId="a1") == []
    assert club.call("/v1/alias", userId="anna", previousId="a1")[0] == 400
    assert club.titles("win", userId="anna", context=club.proof("anna")) == []
    assert club.call("/v1/alias", userId="dora", previousId="a1", context=club.proof("dora"))[0] == 200
    assert club.titles("win", userId="dora", context=club.proof("dora")) == ["Three"]


def test_unproven_events_affect_neither_progress_nor_limit(club: Club) -> None:
    """A flood of unproven events in her name neither advances her nor uses up her limit."""
    for n in range(60):
        club.call("/v1/track", event="win", userId="fay", anonymousId=f"f{n % 2}")
    assert club.titles("win", userId="fay", context=club.proof("fay")) == []


def test_responses_do_not_reveal_which_users_exist(club: Club) -> None:
    """The response is the same for a target, for another customer and for an unknown user."""
    for event, path in itertools.product(("vip_page", "page", "cart", "other"), ("/v1/track", "/v1/identify")):
        seen = []
        for user in ("anna", "carl", "nobody"):
            visitor = {"anonymousId": f"{event}-{user}"} if path == "/v1/track" else {}
            status, answer = club.call(path, event=event, userId=user, **visitor)
            for message in answer.get("messages", ()):
                message["id"] = message["expires"] = 0
            seen.append((status, answer))
        assert seen[0] == seen[1] == seen[2], (event, path)


def test_a_popup_is_repeated_until_the_tag_has_shown_it(club: Club) -> None:
    """The ledger records the impression, and the click with its button."""
    proof = club.proof("gus")
    status, answer = club.call("/v1/track", event="page", userId="gus", context=proof)
    assert status == 200
    (popup,) = answer["messages"]
    properties = {"activation": popup["id"], "campaign": "all"}
    for kind, more in (("Impression", {}), ("Click", {"action": 0})):
        body = {"userId": "gus", "properties": {**properties, **more}, "messageId": f"{popup['id']}:{kind.lower()}"}
        assert club.call("/v1/track", event=f"Opportune {kind}", context=proof, **body)[0] == 200
    (row,) = club.rows(_id=popup["id"])
    assert row["seen"] <= row["clicked"]
    assert list(row["actions"]) == ["0"]
