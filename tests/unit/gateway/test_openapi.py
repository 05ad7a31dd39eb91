"""The OpenAPI description matches the API."""

import json
from typing import Any

from gateway.openapi import describe
from gateway.routes import ROUTES
from tests.support.gateway_site import Site


def test_the_description_is_served_and_names_every_address() -> None:
    """It is built from the table of routes that the handler serves."""
    response = Site().ask("GET", "/v1/openapi.json")
    assert response["statusCode"] == 200
    described = json.loads(response["body"])
    assert described["openapi"] == "3.1.0"
    assert {path: set(methods) for path, methods in described["paths"].items()} == {
        path: {route.method.lower()} for route in ROUTES for path in route.paths
    }


def references(value: Any) -> set[str]:
    """Return the references in *value*."""
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*(references(each) for each in value.values()))
    return set().union(*(references(each) for each in value)) if isinstance(value, list) else set()


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    """No schema is missing or unused."""
    described = describe(ROUTES)
    names = {f"#/components/schemas/{name}" for name in described["components"]["schemas"]}
    assert references(described) == names


def test_each_operation_has_a_sentence_and_its_own_id() -> None:
    """Client generators name their functions after it."""
    operations = [each for methods in describe(ROUTES)["paths"].values() for each in methods.values()]
    assert all(operation["summary"].endswith(".") for operation in operations)
    assert len({operation["operationId"] for operation in operations}) == len(operations)
