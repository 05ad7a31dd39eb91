"""`make cost`: what a stack costs at rest, and per million events, from measured calls and list prices.

``python -m opportune.dev.cost [EVENTS [RELEVANT [MATCHED]]]``: millions of events a month, the share that a live
trigger uses, and the share that ends in a message.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

HOURS = 730  # of a month
MINUTES = HOURS * 60
GB = 0.5  # of memory, each function

# Medians of warm calls on one processor, in Lambda's emulator, built functions, ms; 2026-11-25.
MEASURED_MS = {"gateway alone": 1.3, "gateway": 7.5, "decider": 2.5, "engager": 3.1}
# 512 MB is given 0.29 of a processor: a full one comes with 1,769 MB.
SLOWER = 1769 / 512

# US dollars, us-east-1, list prices as known on 2026-11-25, without free tiers and data transfer.
PRICES_AT = "2026-11-25"
PRICES = {
    "HTTP API, million requests": 1.00,
    "Lambda arm64, million GB-seconds": 13.3334,
    "Lambda, million requests": 0.20,
    "SQS, million requests": 0.40,
    "EventBridge Scheduler, million calls": 1.00,
    "ElastiCache Serverless for Valkey, GB-hour": 0.084,
    "ElastiCache Serverless for Valkey, million ECPU": 0.0023,
    "ElastiCache node m7g.large for Valkey, hour": 0.1264,
    "NAT gateway, hour": 0.045,
    "Interface endpoint, hour and zone": 0.01,
    "CloudFront, million HTTPS requests": 1.00,
    "AWS WAF, web ACL, month": 5.00,
    "AWS WAF, rule, month": 1.00,
    "AWS WAF, million requests": 0.60,
    "Secret, month": 0.40,
    "Alarm, month": 0.10,
    "Metric, month": 0.30,
    "Logs, GB": 0.50,
    "SES, thousand e-mails": 0.10,
}
ALARMS, METRICS, SECRETS = 25, 32, 3
# Of the distribution, and of what guards it.
FRONT_ALARMS, FRONT_SECRETS, GUARD_ALARMS, GUARD_RULES = 1, 1, 2, 3
LEAST_GB = 0.1  # that a serverless cache is billed for
PARTITIONS = 1024


@dataclass(frozen=True)
class Line:
    """What something costs: a month at rest, and a million events."""

    what: str
    rest: float
    million: float


def functions(relevant: float, matched: float) -> float:
    """Return what Lambda costs for a million events."""
    ms = (1 - relevant) * MEASURED_MS["gateway alone"]
    ms += relevant * (MEASURED_MS["gateway"] + MEASURED_MS["decider"]) + matched * MEASURED_MS["engager"]
    calls = 1 + relevant + matched
    return (
        ms / 1000 * SLOWER * GB * PRICES["Lambda arm64, million GB-seconds"]
        + calls * PRICES["Lambda, million requests"]
    )


def lines(relevant: float, matched: float) -> list[Line]:
    """Return the lines of a stack whose state store is serverless, without its network."""
    calls = 2 * MINUTES / 1e6  # a wake and a sweep each minute
    wake_s = 2 * MINUTES / 1e6 * 0.05 * SLOWER
    ecpu = 2 * PARTITIONS * MINUTES / 1e6  # each wake looks at the agenda and the counters of each partition
    return [
        Line("HTTP API", 0, PRICES["HTTP API, million requests"]),
        Line(
            "Lambda",
            wake_s * GB * PRICES["Lambda arm64, million GB-seconds"] + calls * PRICES["Lambda, million requests"],
            functions(relevant, matched),
        ),
        Line("EventBridge Scheduler", calls * PRICES["EventBridge Scheduler, million calls"], 0),
        Line("SQS: polling, deliveries", 2 * MINUTES * 15 / 1e6 * PRICES["SQS, million requests"], 3 * matched * 0.40),
        Line(
            "State store, serverless",
            LEAST_GB * HOURS * PRICES["ElastiCache Serverless for Valkey, GB-hour"]
            + ecpu * PRICES["ElastiCache Serverless for Valkey, million ECPU"],
            relevant * 4 * PRICES["ElastiCache Serverless for Valkey, million ECPU"],
        ),
        Line(
            "CloudWatch",
            ALARMS * PRICES["Alarm, month"] + METRICS * PRICES["Metric, month"],
            (1 + relevant + matched) * 0.6 * PRICES["Logs, GB"],
        ),
        Line("Secrets", SECRETS * PRICES["Secret, month"], 0),
        Line("SES, every match an e-mail", 0, matched * 1e3 * PRICES["SES, thousand e-mails"]),
    ]


def networks() -> list[Line]:
    """Return what each way to the state store costs besides."""
    node = PRICES["ElastiCache node m7g.large for Valkey, hour"]
    least = LEAST_GB * HOURS * PRICES["ElastiCache Serverless for Valkey, GB-hour"]
    return [
        Line("serverless-public, no VPC", 0, 0),
        Line("serverless-vpc, one NAT gateway", PRICES["NAT gateway, hour"] * HOURS, 0),
        Line("serverless-vpc, six endpoints in two zones", 12 * PRICES["Interface endpoint, hour and zone"] * HOURS, 0),
        Line(
            "node-durable, 2 shards with replicas, one NAT", (4 * node + PRICES["NAT gateway, hour"]) * HOURS - least, 0
        ),
    ]


def fronts() -> list[Line]:
    """Return what CloudFront in front of the API costs besides, and what guards it; an event is a request."""
    return [
        Line(
            "CloudFront",
            FRONT_ALARMS * PRICES["Alarm, month"] + FRONT_SECRETS * PRICES["Secret, month"],
            PRICES["CloudFront, million HTTPS requests"],
        ),
        Line(
            "AWS WAF, by web-acl.yaml",
            PRICES["AWS WAF, web ACL, month"]
            + GUARD_RULES * PRICES["AWS WAF, rule, month"]
            + GUARD_ALARMS * PRICES["Alarm, month"],
            PRICES["AWS WAF, million requests"],
        ),
    ]


def main(arguments: Sequence[str], console: Console) -> int:
    """Print the tables to *console*; return the exit code."""
    try:
        events, relevant, matched = [float(given) for given in arguments] + [10, 0.1, 0.005][len(arguments) :]
    except ValueError:
        Console(stderr=True).print(
            "usage: python -m opportune.dev.cost [MILLIONS [RELEVANT [MATCHED]]], as in: 10 0.1 0.005"
        )
        return 2
    found = lines(relevant, matched)
    title = f"{events:g} million events a month, {relevant:.1%} relevant, {matched:.2%} matched: US dollars"
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    for column in ("a month at rest", "a million events", "this month"):
        table.add_column(column, justify="right")
    for each in [*found, Line("together", sum(e.rest for e in found), sum(e.million for e in found))]:
        table.add_row(each.what, f"{each.rest:.2f}", f"{each.million:.2f}", f"{each.rest + events * each.million:.2f}")
    console.print(table)
    ways = Table(title="Besides, by StateStoreMode and VpcWayOut", title_justify="left")
    ways.add_column("way")
    ways.add_column("a month", justify="right")
    for each in networks():
        ways.add_row(each.what, f"{each.rest:.2f}")
    console.print(ways)
    before = Table(title="Besides, with PublicEndpoint both or cloudfront", title_justify="left")
    before.add_column("what")
    for column in ("a month at rest", "a million events"):
        before.add_column(column, justify="right")
    for each in fronts():
        before.add_row(each.what, f"{each.rest:.2f}", f"{each.million:.2f}")
    console.print(before)
    console.print(
        f"List prices of us-east-1 as known on {PRICES_AT}: check them. Without free tiers, data transfer and MongoDB "
        f"Atlas. Calls as measured in Lambda's emulator, {SLOWER:.1f} times as long: 512 MB get so much less of a "
        "processor."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Console()))
