"""Unsubscribing, from the page to the database and to the Engager's gate."""

from functools import partial
from typing import Any

from pymongo.database import Database

from preferences.handler import create_handler
from preferences.wiring import build
from shared.settings import PREFERENCES, Settings
from shared.signing import pseudonym, unsubscribe_token
from tests.support.lambdas import Context, http_event
from tests.support.opt_outs import has_opted_out

SECRET = "a secret of thirty-two letters.."


def settings(mongodb_url: str, database: str) -> Settings:
    """Return the function's settings from an environment."""
    env = {
        "OPPORTUNE_MONGODB_URL": mongodb_url,
        "OPPORTUNE_MONGODB_DATABASE": database,
        "OPPORTUNE_SIGNING_SECRET": SECRET,
    }
    return Settings.from_env(env, PREFERENCES)


def visit(given: Settings, method: str, channel: str = "email") -> dict[str, Any]:
    """Request Ada's unsubscribe link with *method*."""
    path = f"/unsubscribe/{unsubscribe_token(SECRET, 'shop', 'ada', channel)}"
    return create_handler(build(given))(http_event(method, path, b"List-Unsubscribe=One-Click"), Context())


def test_a_post_is_remembered_and_a_get_is_not(mongodb: Database[dict[str, Any]], mongodb_url: str) -> None:
    """After the POST, the user is opted out of this channel of this site only."""
    given = settings(mongodb_url, mongodb.name)
    has = partial(has_opted_out, mongodb)
    assert "no more e-mails from us." in visit(given, "GET")["body"]
    mongodb.control.insert_one({"_id": "shop", "ruleset": 3})
    mongodb.rulesets.insert_one({"_id": "shop:3", "ruleset": {"name": "The shop"}})
    assert "no more e-mails from The shop." in visit(given, "GET")["body"]
    assert not has("shop", "ada", "email")
    assert visit(given, "POST")["statusCode"] == 200
    assert has("shop", "ada", "email")
    assert not has("shop", "ada", "sms")
    assert not has("blog", "ada", "email")
    assert not has("shop", "bob", "email")


def test_channels_add_up_and_repeats_change_nothing(mongodb: Database[dict[str, Any]], mongodb_url: str) -> None:
    """There is one row per user, with all channels."""
    given = settings(mongodb_url, mongodb.name)
    for channel in ("email", "email", "sms"):
        assert visit(given, "POST", channel)["statusCode"] == 200
    (row,) = mongodb.optouts.find()
    assert row["_id"] == "shop:ada"
    assert (row["site"], row["user"]) == ("shop", "ada")
    assert {channel: each["reason"] for channel, each in row["channels"].items()} == {
        "email": "unsubscribed",
        "sms": "unsubscribed",
    }


def test_an_old_link_does_not_bring_back_a_forgotten_name(mongodb: Database[dict[str, Any]], mongodb_url: str) -> None:
    """The page confirms, because the user gets no messages anyway. Nothing is written."""
    mongodb.forgotten.insert_one({"_id": pseudonym(SECRET, "shop", "ada")})
    assert visit(settings(mongodb_url, mongodb.name), "POST")["statusCode"] == 200
    assert list(mongodb.optouts.find()) == []
