"""The site of the trials: campaigns of all channels with matches that a workload can predict."""

from typing import Any

import msgspec

from definitions.compiler.ruleset import Bundle
from shared.contracts import write_key
from shared.ruleset import CANCEL, Campaign, Limits, Matcher, Quota, Ruleset, Sender, TargetGroup
from tests.support.builders import compiled
from tests.support.faults.history import Limit

SITE, KEY = "faults", "secret-key-of-the-trials"
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
CAP = Quota(max=3, per=HOUR_MS)
TWICE = Quota(max=2, per=HOUR_MS)
LIMITS = (
    Limit(CAP.max, CAP.per, channel="popup"),
    Limit(TWICE.max, TWICE.per, campaign="limited"),
)
DELAY_MS = 10 * MINUTE_MS  # by a queue
LONG_DELAY_MS = 2 * HOUR_MS  # by a schedule
WEBHOOK_HOST = "hooks.example"
TEXTS_PER_MINUTE = 30
VIPS = "vips"


def on(*events: str) -> list[Matcher]:
    """Return watchers: these events cancel."""
    return [Matcher(events=list(events), bits=CANCEL)]


def once(event: str, name: str, channel: str, **changes: Any) -> Campaign:
    """Return a campaign of *channel* that every such event matches."""
    base = compiled({"sequence": [{"event": event}]}, name=name, channel="popup" if channel == "popup" else "email")
    return msgspec.structs.replace(base, channel=channel, **changes)


def campaigns() -> list[Campaign]:
    """Return all campaigns, grouped by their purpose."""
    wins = {"sequence": [{"event": "win", "times": 3}], "within": "1h"}
    left: dict[str, Any] = {"sequence": [{"event": "add"}], "unless": {"event": "order", "for": "30m"}}
    delayed = {"delay": DELAY_MS, "watchers": on("order")}
    lost = {"watchers": on("order"), "send_if_lost": True}
    webhook = {"url": f"https://{WEBHOOK_HOST}/in", "body": '{"user": "{{ customer.name }}"}'}
    anywhere = {"url": "{{ event.url }}", "body": "{}"}
    return [
        once("greet", "popup", "popup"),
        once("pay", "mail", "email"),
        compiled(wins, name="wins", channel="email"),
        once("often", "limited", "email", limits=Limits(max=TWICE)),
        compiled(left, name="left", channel="email"),
        once("cart", "delayed", "email", **delayed),
        once("trial", "late", "email", delay=LONG_DELAY_MS, watchers=on("order")),
        once("wish", "lost", "email", delay=LONG_DELAY_MS, **lost),
        once("text", "sms", "sms", content={"text": "{{ event.ref }}"}, reads=["ref"]),
        once("hook", "webhook", "webhook", content=webhook),
        once("ping", "push", "push", content={"title": "Hi"}),
        once("vip", "vip", "email", everyone=False, groups=[VIPS]),
        once("vip later", "vip-late", "email", everyone=False, groups=[VIPS], delay=DELAY_MS),
        once("hook anywhere", "anywhere", "webhook", content=anywhere, reads=["url"]),
    ]


def ruleset() -> Ruleset:
    """Return the site's ruleset."""
    return Ruleset(
        site=SITE,
        version=1,
        keys=[write_key(KEY, secret=True)],
        campaigns=campaigns(),
        sender=Sender("hello@example.com", "Shop"),
        caps={"popup": CAP},
        rates={"sms": TEXTS_PER_MINUTE},
        webhook_hosts=[WEBHOOK_HOST],
    )


def bundle() -> Bundle:
    """Return the site with its target group, as it is published."""
    return Bundle(ruleset(), [TargetGroup(VIPS, rule={"tier": "vip"})], {"site": {"id": SITE}, "events": []})


def customer(user: str) -> dict[str, Any]:
    """Return a customer who can be reached on every channel."""
    attributes = {"name": user, "email": f"{user}@example.com", "phone": "+436601234567", "timezone": "UTC"}
    attributes["push_endpoint"] = f"arn:aws:sns:eu-central-1:123456789012:endpoint/GCM/app/{user}"
    return {"_id": f"{SITE}:{user}", "site": SITE, "user": user, "attributes": attributes}
