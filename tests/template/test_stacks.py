"""The template under all possible parameters: its resources, and whether a changed parameter takes effect."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

from tests.support.paths import ROOT
from tests.support.stacks import BY_IAM, SAMPLES, SECRET, Missing, Stack, allows, refs, required, stacks, values_of
from tests.template.conftest import Template

MAX_DESCRIPTION = 256


@pytest.fixture(name="all_stacks", scope="module")
def _all_stacks(template: Template) -> list[Stack]:
    return stacks(template)


def test_every_reference_has_a_resource(all_stacks: list[Stack]) -> None:
    """Under all parameters, resources and outputs refer only to resources that exist."""
    assert len(all_stacks) > 100
    for stack in all_stacks:
        try:
            stack.check()
        except Missing as error:
            pytest.fail(f"{error}, with {stack.parameters}")


def test_a_changed_parameter_publishes_a_version(template: Template, all_stacks: list[Stack]) -> None:
    """The description of a version has exactly the parameters that its function depends on.

    The alias runs the version that was published last. SAM publishes one if the function changes in the template, but
    it ignores parameter values. CloudFormation publishes one if its description changes. Lambda refuses a version if
    only the description has changed.
    """
    kinds = itertools.product(("MongoDbByIam", "StateStoreIsOwn"), (False, True))
    bases = [next(stack for stack in all_stacks if stack.holds(kind) is so) for kind, so in kinds]
    every = [*all_stacks, *(changed for base in bases for changed in _one_changed(template, base))]
    for function in template.functions:
        name = f"{function.title()}Function"
        description = _description(template, name)
        pairs = {(repr(s.value(template.resources[name]["Properties"])), s.value(description)) for s in every}
        assert len({made for made, _ in pairs}) == len({text for _, text in pairs}) == len(pairs), function


def test_the_longest_parameters_fit_into_a_description(template: Template, all_stacks: list[Stack]) -> None:
    """Lambda allows 256 characters."""
    longest = {
        "MongoDbDatabase": "d" * 38,
        "MongoDbSecretArn": SECRET + "s" * (150 - len(SECRET)),
        "StateStoreSecretArn": SECRET + "s" * (86 - len(SECRET)),
        "MongoDbAddress": f"mongodb://m/?{BY_IAM}&appName=".ljust(104, "a"),
    }
    assert all(
        allows(template, name, value) and not allows(template, name, value + "x") for name, value in longest.items()
    )
    for function in template.functions:
        description = _description(template, f"{function.title()}Function")
        for stack in all_stacks:
            given = {name: value for name, value in longest.items() if stack.parameters[name]}
            assert len(Stack(template, {**stack.parameters, **given}).value(description)) <= MAX_DESCRIPTION


def _one_changed(template: Template, base: Stack) -> Iterator[Stack]:
    """Yield *base* with each other value of each parameter that a function uses."""
    for name, body in template.translated["Parameters"].items():
        if "AllowedValues" in body or name in refs(
            [template.resources[f"{f.title()}Function"] for f in template.functions]
        ):
            for value in values_of(template, name):
                stack = Stack(template, {**base.parameters, name: value})
                if not stack.broken_rules():
                    yield stack


def _description(template: Template, function: str) -> Any:
    """Return the description of the published version of *function*."""
    versions = template.of_type("AWS::Lambda::Version").values()
    (description,) = (each.get("Description", "") for each in versions if each["FunctionName"] == {"Ref": function})
    return description


def test_a_vpc_with_endpoints_needs_no_internet(all_stacks: list[Stack]) -> None:
    """The stores are in the VPC, and there is an endpoint for every API that a function calls."""
    inside = [stack for stack in all_stacks if stack.holds("CreatesEndpoints")]
    assert inside
    session = botocore.session.Session()
    used = [
        session.get_service_model(name).endpoint_prefix
        for path in (ROOT / "functions").rglob("*.py")
        for name in re.findall(r"client\(\"(\w+)\"", path.read_text("utf-8"))
    ]
    for stack in inside:
        assert stack.holds("StateStoreInVpc")
        assert stack.holds("MongoDbInVpc")
        endpoints = [
            stack.value(r["Properties"]) for r in stack.resources.values() if r["Type"] == "AWS::EC2::VPCEndpoint"
        ]
        assert {each["ServiceName"] for each in endpoints} == {f"com.amazonaws.eu-central-1.{name}" for name in used}
        assert all(each["PrivateDnsEnabled"] for each in endpoints)


def test_a_vpc_has_room_for_its_subnets(template: Template) -> None:
    """Every allowed size can be divided into the subnets."""
    sizes = [f"10.0.0.0/{size}" for size in range(8, 29) if allows(template, "VpcCidr", f"10.0.0.0/{size}")]
    assert sizes
    for size in sizes:
        Stack(template, {**required(template), "VpcCidr": size}).check()


@pytest.mark.parametrize(("named", "zones"), [("", "ab"), ("eu-central-1b,eu-central-1c", "bc")])
def test_a_vpc_is_in_two_zones(template: Template, named: str, zones: str) -> None:
    """These are the first two of the Region, or the named ones: some zones lack Lambda or an endpoint."""
    stack = Stack(template, {**required(template), "AvailabilityZones": named})
    subnets = [stack.value(stack.resources[f"PrivateSubnet{each}"]["Properties"]) for each in "AB"]
    assert [each["AvailabilityZone"] for each in subnets] == [f"eu-central-1{each}" for each in zones]


def test_samples_are_allowed(template: Template) -> None:
    """The template allows all sample values of these tests."""
    for parameter, values in SAMPLES.items():
        assert all(allows(template, parameter, value) for value in values), parameter
