"""The built functions run as on Lambda: three hops, real stores, and starts and timeouts as Lambda has them."""

from pathlib import Path
from urllib.parse import parse_qsl
from urllib.request import urlopen

import msgspec
import pytest

from opportune.local import aws, decision_feed, outbox_page
from opportune.local.functions import FUNCTIONS
from opportune.system import processes
from shared.invoke import LambdaInvoke
from shared.settings import DECIDER, ENGAGER, GATEWAY
from tests.artefact.conftest import Artefacts, Cluster, failed_cases
from tests.support.emulator import peak_mb, starts_ms
from tests.support.figures import Show
from tests.support.lambdas import http_event
from tests.support.secured_mongod import role_arn


@pytest.mark.timeout(300)
def test_the_demo_passes(artefacts: Artefacts, show: Show) -> None:
    """Every case of the demo scenario passes; the figures show each function's starts and memory."""
    assert failed_cases(artefacts) == []
    used = _figures(artefacts.stack.logs_dir, artefacts.stack.run_dir)
    lines = ["built functions in Lambda's emulator, during the demo scenario"]
    lines += [f"{'function':<12} {'starts':>6} {'slowest start':>14} {'peak memory':>12} {'of':>8}"]
    for name, (starts, peak) in used.items():
        of = f"{FUNCTIONS[name].memory_mb} MB"
        lines.append(f"{name:<12} {len(starts):>6} {max(starts):>11.0f} ms {peak:>9.0f} MB {of:>8}")
    show("\n".join(lines))
    assert {"gateway", "decider", "engager"} <= used.keys()
    for name, (starts, peak) in used.items():
        assert starts, name
        assert 0 < peak < FUNCTIONS[name].memory_mb / 2, f"{name} needs {peak:.0f} MB: give it more"


def test_functions_authenticate_to_mongodb_with_iam(artefacts: Artefacts, atlas: Cluster) -> None:
    """Each has its own role. The driver's IAM part is in the artefact, and boto3 comes from the runtime."""
    artefacts.stack.drain()
    assert {role_arn(DECIDER), role_arn(ENGAGER)} <= set(atlas.authenticated)


@pytest.mark.parametrize(
    "page", [decision_feed.PATH, f"{decision_feed.STANDING_PATH}?site=demo&user=anna", outbox_page.JSON_PATH]
)
def test_the_built_gateway_has_no_page_of_the_local_stack(artefacts: Artefacts, page: str) -> None:
    """The local stack serves the decision feed and the outbox beside the Gateway, which answers 404 to their paths."""
    path, _, query = page.partition("?")
    with urlopen(artefacts.stack.http_url + page) as here:
        assert here.status == 200
    gateway = LambdaInvoke(aws.client("lambda", artefacts.stack.lambda_url), GATEWAY)
    answer = msgspec.json.decode(
        gateway(msgspec.json.encode(http_event("GET", path, b"", query=dict(parse_qsl(query)))))
    )
    assert (answer["statusCode"], msgspec.json.decode(answer["body"])["code"]) == (404, "not_found")


def _figures(logs: Path, run: Path) -> dict[str, tuple[list[float], float]]:
    """Return, for each function that ran, the durations of its starts in ms and its peak memory in MB."""
    figures = {}
    for name in FUNCTIONS:
        starts = [ms for log in sorted(logs.glob(f"{name}-*.log")) for ms in starts_ms(log.read_text())]
        emulators = [each.pid for each in processes.recorded(run) if each.name == f"function {name}"]
        if starts:
            figures[name] = (starts, max(peak_mb(pid) for pid in emulators))
    return figures
