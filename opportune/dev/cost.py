"""`make cost`: the cost of a stack at rest and per million events, from measured calls and list prices.

``python -m opportune.dev.cost [EVENTS [RELEVANT [MATCHED]]]``: millions of events a month, the share of
events that a live trigger uses, and the share of events that end in a message.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

HOURS = 730  # per month
MINUTES = HOURS * 60
GB = 0.5  # memory of each function

# Medians of warm calls in ms, on one processor: built functions in Lambda's emulator, 2026-11-25.
MEASURED_MS = {"gateway alone": 1.3, "gateway": 7.5, "decider": 2.5, "engager": 3.1}
# A function with 512 MB gets 0.29 of a processor; 1,769 MB get a full one.
SLOWDOWN = 1769 / 512

# List prices in US dollars, us-east-1, known on 2026-11-25, without free tiers and data transfer.
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
# Of the CloudFront distribution, and of the web ACL that protects it.
DISTRIBUTION_ALARMS, DISTRIBUTION_SECRETS, WEB_ACL_ALARMS, WEB_ACL_RULES = 1, 1, 2, 3
MIN_GB = 0.1  # the least that a serverless cache is billed for
PARTITIONS = 1024


@dataclass(frozen=True)
class Cost:
    """The cost of a part: per month at rest, and per million events."""

    what: str
    rest: float
    million: float


def functions(relevant: float, matched: float) -> float:
    """Return the cost of Lambda for a million events; *relevant* and *matched* are shares of the events."""
    ms = (1 - relevant) * MEASURED_MS["gateway alone"]
    ms += relevant * (MEASURED_MS["gateway"] + MEASURED_MS["decider"]) + matched * MEASURED_MS["engager"]
    calls = 1 + relevant + matched
    return (
        ms / 1000 * SLOWDOWN * GB * PRICES["Lambda arm64, million GB-seconds"]
        + calls * PRICES["Lambda, million requests"]
    )


def lines(relevant: float, matched: float) -> list[Cost]:
    """Return the cost of each part of a stack with a serverless state store, without its network."""
    calls = 2 * MINUTES / 1e6  # a wake and a sweep each minute
    wake_s = 2 * MINUTES / 1e6 * 0.05 * SLOWDOWN
    ecpu = 2 * PARTITIONS * MINUTES / 1e6  # each wake reads the timers and the counters of each partition
    return [
        Cost("HTTP API", 0, PRICES["HTTP API, million requests"]),
        Cost(
            "Lambda",
            wake_s * GB * PRICES["Lambda arm64, million GB-seconds"] + calls * PRICES["Lambda, million requests"],
            functions(relevant, matched),
        ),
        Cost("EventBridge Scheduler", calls * PRICES["EventBridge Scheduler, million calls"], 0),
        Cost("SQS: polling, deliveries", 2 * MINUTES * 15 / 1e6 * PRICES["SQS, million requests"], 3 * matched * 0.40),
        Cost(
            "State store, serverless",
            MIN_GB * HOURS * PRICES["ElastiCache Serverless for Valkey, GB-hour"]
            + ecpu * PRICES["ElastiCache Serverless for Valkey, million ECPU"],
            relevant * 4 * PRICES["ElastiCache Serverless for Valkey, million ECPU"],
        ),
        Cost(
            "CloudWatch",
            ALARMS * PRICES["Alarm, month"] + METRICS * PRICES["Metric, month"],
            (1 + relevant + matched) * 0.6 * PRICES["Logs, GB"],
        ),
        Cost("Secrets", SECRETS * PRICES["Secret, month"], 0),
        Cost("SES, every match an e-mail", 0, matched * 1e3 * PRICES["SES, thousand e-mails"]),
    ]


def networks() -> list[Cost]:
    """Return the additional cost of each way to reach the state store."""
    node = PRICES["ElastiCache node m7g.large for Valkey, hour"]
    smallest = MIN_GB * HOURS * PRICES["ElastiCache Serverless for Valkey, GB-hour"]
    return [
        Cost("serverless-public, no VPC", 0, 0),
        Cost("serverless-vpc, one NAT gateway", PRICES["NAT gateway, hour"] * HOURS, 0),
        Cost("serverless-vpc, six endpoints in two zones", 12 * PRICES["Interface endpoint, hour and zone"] * HOURS, 0),
        Cost(
            "node-durable, 2 shards with replicas, one NAT",
            (4 * node + PRICES["NAT gateway, hour"]) * HOURS - smallest,
            0,
        ),
    ]


def edges() -> list[Cost]:
    """Return the additional cost of CloudFront, and of AWS WAF, with one request per event."""
    return [
        Cost(
            "CloudFront",
            DISTRIBUTION_ALARMS * PRICES["Alarm, month"] + DISTRIBUTION_SECRETS * PRICES["Secret, month"],
            PRICES["CloudFront, million HTTPS requests"],
        ),
        Cost(
            "AWS WAF, by infrastructure/web-acl.yaml",
            PRICES["AWS WAF, web ACL, month"]
            + WEB_ACL_RULES * PRICES["AWS WAF, rule, month"]
            + WEB_ACL_ALARMS * PRICES["Alarm, month"],
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
    table.add_column("part")
    for column in ("per month at rest", "per million events", "this month"):
        table.add_column(column, justify="right")
    for each in [*found, Cost("total", sum(e.rest for e in found), sum(e.million for e in found))]:
        table.add_row(each.what, f"{each.rest:.2f}", f"{each.million:.2f}", f"{each.rest + events * each.million:.2f}")
    console.print(table)
    ways = Table(title="In addition, by StateStoreMode and VpcEgress", title_justify="left")
    ways.add_column("network")
    ways.add_column("per month", justify="right")
    for each in networks():
        ways.add_row(each.what, f"{each.rest:.2f}")
    console.print(ways)
    edge = Table(title="In addition, with PublicEndpoint both or cloudfront", title_justify="left")
    edge.add_column("part")
    for column in ("per month at rest", "per million events"):
        edge.add_column(column, justify="right")
    for each in edges():
        edge.add_row(each.what, f"{each.rest:.2f}", f"{each.million:.2f}")
    console.print(edge)
    console.print(
        f"List prices of us-east-1, known on {PRICES_AT}: check them. Free tiers, data transfer and MongoDB Atlas "
        f"are not included. Durations were measured in Lambda's emulator on a full processor, then multiplied by "
        f"{SLOWDOWN:.1f}, because 512 MB get 1/{SLOWDOWN:.1f} of a processor."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Console()))
