"""A Gateway that only CloudFront may call, over HTTP; its secret is in Secrets Manager and gets rotated."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3

from opportune.local import aws
from opportune.local.api_gateway import ApiGateway
from opportune.local.environments import Pool, WorkerEnvironment
from opportune.local.functions import FUNCTIONS, FUNCTIONS_DIR, function_environment
from opportune.system.subprocesses import Subprocesses
from shared.clock import now_ms
from shared.settings import GATEWAY
from tests.support.whole_system import System

FIRST, SECOND = "1" * 64, "2" * 64
SPEED = 1000  # of the Gateway's clock, so that it soon looks up the secret again
VISITOR = "203.0.113.9"


class Edge:
    """CloudFront, as the Gateway sees it: it adds the visitor's address and the secret."""

    def __init__(self, url: str, secrets: Any, arn: str) -> None:
        self.sends = FIRST
        self._url = url
        self._secrets = secrets
        self._arn = arn
        self._pool = urllib3.PoolManager()

    def rotate(self, text: str) -> None:
        """Store *text* as the secret."""
        self._secrets.put_secret_value(SecretId=self._arn, SecretString=text)
        time.sleep(0.1)

    def lose(self) -> None:
        """Delete the secret."""
        self._secrets.delete_secret(SecretId=self._arn, ForceDeleteWithoutRecovery=True)

    def ask(self, method: str, path: str, secret: str | None = None, **options: Any) -> urllib3.BaseHTTPResponse:
        """Return the response to a request with *secret*: None for the current one, "" for none."""
        chosen = self.sends if secret is None else secret
        headers = {"Origin": "https://shop.example", "X-Forwarded-For": f"1.1.1.1, {VISITOR}"}
        headers |= {"X-Opportune-Host": "events.shop.example"} | ({"X-Origin-Verify": chosen} if chosen else {})
        return self._pool.request(method, self._url + path, headers=headers, retries=False, **options)

    def taken(self, secret: str | None = None) -> int:
        """Return the status of a preflight."""
        return self.ask("OPTIONS", "/v1/track", secret).status


@pytest.fixture(name="edge")
def _edge(system: System, tmp_path: Path) -> Iterator[Edge]:
    secrets = aws.client("secretsmanager", system.stack.aws_url)
    arn = secrets.create_secret(Name=f"origin-{tmp_path.name}", SecretString=FIRST)["ARN"]
    settings = {
        "OPPORTUNE_DECIDER_FUNCTION": "decider",
        "OPPORTUNE_PROXIES": "1",
        "OPPORTUNE_ORIGIN_SECRET": arn,
        "OPPORTUNE_EVENTS_PER_SECOND": "1",
        "OPPORTUNE_GATEWAY_TIMEOUT_MS": str(5000 * SPEED),
        "OPPORTUNE_CLOCK": f"{now_ms()},{SPEED}",
    }
    function = FUNCTIONS[GATEWAY]
    variables = function_environment(
        GATEWAY,
        function,
        settings=settings,
        aws_url=system.stack.aws_url,
        lambda_url=system.stack.lambda_url,
        extra={},
    )
    with Subprocesses(tmp_path / "run", tmp_path / "logs", os.environ) as subprocesses:
        pool = Pool(GATEWAY, function, subprocesses, variables, FUNCTIONS_DIR, WorkerEnvironment.start)
        front = ApiGateway(pool.invoke, port=None, demo_dir=None)
        pool.warm_up()
        front.start()
        yield Edge(front.url, secrets, arn)
        front.stop()
        pool.stop()


def test_direct_requests_are_rejected(edge: Edge) -> None:
    """The Gateway rejects every request without the secret, and pages can read why."""
    requests: list[tuple[str, str, dict[str, Any]]] = [
        ("OPTIONS", "/v1/track", {}),
        ("POST", "/v1/track", {"json": {"writeKey": "wk_demo_public", "userId": "anna", "event": "game_result"}}),
        ("GET", "/v1/pixel/track?writeKey=wk_demo_public&userId=anna&event=game_result", {}),
        ("GET", "/tag.js", {}),
        ("GET", "/v1/projects/wk_demo_public/settings", {}),
    ]
    for method, path, options in requests:
        refused = edge.ask(method, path, "", **options)
        assert (refused.status, refused.json()["code"]) == (403, "direct_request")
        assert refused.headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert [edge.ask(method, path, **options).status for method, path, options in requests] == [204, 200, 200, 200, 200]


def test_the_secret_is_read_at_start(edge: Edge) -> None:
    """The secret is read at the start, so no request waits for it. If it is deleted, unknown secrets get a 503."""
    edge.lose()
    assert edge.taken() == 204
    assert [edge.ask("OPTIONS", "/v1/track", secret).status for secret in (SECOND, "")] == [503, 403]


def test_libraries_get_the_public_host(edge: Edge) -> None:
    """Libraries get the public host, not the origin's address, which would reject them."""
    settings = edge.ask("GET", "/v1/projects/wk_demo_public/settings").json()
    assert settings["integrations"]["Segment.io"]["apiHost"] == "events.shop.example/v1"


def test_a_rotation_rejects_no_request(edge: Edge) -> None:
    """While the edges switch, old and new secrets work; after the next rotation the old one is rejected."""
    assert edge.taken() == 204
    edge.rotate(SECOND)
    assert [edge.taken(secret) for secret in (FIRST, SECOND, FIRST, SECOND, "3" * 64)] == [204, 204, 204, 204, 403]
    edge.rotate(SECOND)
    assert edge.taken("3" * 64) == 403
    assert [edge.taken(secret) for secret in (FIRST, SECOND)] == [403, 204]
