"""What `make build` makes runs: three hops, real stores, and every start and timeout as Lambda has them."""

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
from tests.support.lambdas import http_event
from tests.support.secured_mongod import role_arn


@pytest.mark.timeout(300)
def test_the_story_passes(artefacts: Artefacts, capsys: pytest.CaptureFixture[str]) -> None:
    """Every line of the demo story comes true; what each function's starts and memory came to is printed."""
    assert failed_cases(artefacts) == []
    used = _figures(artefacts.stack.logs_dir, artefacts.stack.run_dir)
    with capsys.disabled():
        print("\n\nbuilt functions in Lambda's emulator, during the demo story")
        print(f"{'function':<12} {'starts':>6} {'slowest start':>14} {'peak memory':>12} {'of':>8}")
        for name, (starts, peak) in used.items():
            of = f"{FUNCTIONS[name].memory_mb} MB"
            print(f"{name:<12} {len(starts):>6} {max(starts):>11.0f} ms {peak:>9.0f} MB {of:>8}")
    assert {"gateway", "decider", "engager"} <= used.keys()
    for name, (starts, peak) in used.items():
        assert starts, name
        assert 0 < peak < FUNCTIONS[name].memory_mb / 2, f"{name} needs {peak:.0f} MB: give it more"


def test_mongodb_was_entered_by_iam(artefacts: Artefacts, atlas: Cluster) -> None:
    """Each function as its own role, with the driver's part for it as built and the AWS library of the runtime."""
    artefacts.stack.drain()
    assert {role_arn(DECIDER), role_arn(ENGAGER)} <= set(atlas.entered)


@pytest.mark.parametrize(
    "page", [decision_feed.PATH, f"{decision_feed.STANDING_PATH}?site=demo&user=anna", outbox_page.JSON_PATH]
)
def test_what_was_built_has_no_page_that_only_this_machine_has(artefacts: Artefacts, page: str) -> None:
    """Decisions as they fall, what was sent: here they are served beside the Gateway, and it knows nothing of them."""
    path, _, query = page.partition("?")
    with urlopen(artefacts.stack.http_url + page) as here:
        assert here.status == 200
    gateway = LambdaInvoke(aws.client("lambda", artefacts.stack.lambda_url), GATEWAY)
    answer = msgspec.json.decode(
        gateway(msgspec.json.encode(http_event("GET", path, b"", query=dict(parse_qsl(query)))))
    )
    assert (answer["statusCode"], msgspec.json.decode(answer["body"])["code"]) == (404, "not_found")


def _figures(logs: Path, run: Path) -> dict[str, tuple[list[float], float]]:
    """Return how long the starts took and the most memory an environment has used, by function that ran."""
    figures = {}
    for name in FUNCTIONS:
        starts = [ms for log in sorted(logs.glob(f"{name}-*.log")) for ms in starts_ms(log.read_text())]
        emulators = [each.pid for each in processes.recorded(run) if each.name == f"function {name}"]
        if starts:
            figures[name] = (starts, max(peak_mb(pid) for pid in emulators))
    return figures
