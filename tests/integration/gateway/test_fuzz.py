"""The API matches its OpenAPI description: thousands of generated requests, through HTTP and the real handler.

The checks cover statuses, headers, the shapes of responses, acceptance of valid requests, and authentication. Every
run makes the same requests.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.core.result import Ok
from schemathesis.generation.hypothesis.builder import HypothesisTestConfig, HypothesisTestMode, create_test
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from gateway.openapi import describe
from gateway.routes import ROUTES
from opportune.local.api_gateway import ApiGateway
from opportune.local.environments import InvocationResult
from tests.support.gateway_site import Site

CHECKS = [
    schemathesis.checks.not_a_server_error,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]
ACCEPTANCE = [positive_data_acceptance]
# The short paths are the same endpoints.
FIRST = {route.paths[0] for route in ROUTES if route.response_schema != "File"}
api = schemathesis.openapi.from_dict(describe(ROUTES)).include(func=lambda context: context.operation.path in FIRST)
KEYS = {"key": "public"}


@pytest.fixture(name="url", scope="module")
def _url() -> Iterator[str]:
    site = Site(per_second=10**9)
    front = ApiGateway(
        lambda payload: InvocationResult(json.dumps(site.send(json.loads(payload))).encode()), port=None, demo_dir=None
    )
    front.start()
    yield front.url
    front.stop()


def operations() -> Iterator[Any]:
    """Yield the described operations."""
    for found in api.get_all_operations():
        assert isinstance(found, Ok), found.err()
        yield found.ok()


@pytest.mark.parametrize("operation", list(operations()), ids=lambda each: each.label)
def test_the_api_is_what_its_description_says(url: str, operation: Any) -> None:
    """This covers every endpoint, with valid and invalid bodies."""

    @settings(
        max_examples=40,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Any) -> None:
        if "key" in case.path_parameters:
            case.path_parameters.update(KEYS)
        response = case.call(base_url=url, auth=("public", ""))
        # A schema cannot limit the bytes of a body.
        case.validate_response(response, checks=[*CHECKS, *(ACCEPTANCE if response.status_code != 413 else ())])

    # `api.parametrize` does this during collection, which then takes ten times as long.
    config = HypothesisTestConfig(project=api.config, modes=list(HypothesisTestMode))
    create_test(operation=operation, test_func=check, config=config)()
