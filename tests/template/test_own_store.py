"""A state store that whoever deploys brings along: nothing is made for it, and its password is in no environment."""

import pytest

from tests.support.paths import ROOT
from tests.support.stacks import SAMPLES, Stack, required
from tests.template.conftest import Template, listed

SECRET = SAMPLES["StateStoreSecretArn"][1]
VPC = {"VpcId": SAMPLES["VpcId"][1], "SubnetIds": SAMPLES["SubnetIds"][1]}


def with_own(template: Template, **parameters: str) -> Stack:
    """Return a stack with a store of one's own."""
    own = {"StateStoreMode": "own", "StateStoreSecretArn": SECRET}
    return Stack(template, {**required(template), **own, **parameters})


@pytest.mark.parametrize(("mode", "clustered"), [("own", "false"), ("own-cluster", "true")])
def test_the_decider_reads_the_address_in_the_secret(template: Template, mode: str, clustered: str) -> None:
    """It may read that one and is told whether it leads to a cluster; nothing of ElastiCache is made, or entered."""
    stack = with_own(template, StateStoreMode=mode)
    variables = stack.value(stack.resources["DeciderFunction"]["Properties"]["Environment"]["Variables"])
    redis = {name: value for name, value in variables.items() if name.startswith("OPPORTUNE_REDIS_")}
    assert redis == {"OPPORTUNE_REDIS_URL": SECRET, "OPPORTUNE_REDIS_CLUSTER": clustered}
    policies = stack.value(stack.resources["DeciderFunctionRole"]["Properties"]["Policies"])
    rights = [(s["Action"], s["Resource"]) for each in policies for s in each["PolicyDocument"]["Statement"]]
    assert ("secretsmanager:GetSecretValue", SECRET) in rights
    assert not any("elasticache" in action for actions, _ in rights for action in listed(actions))
    assert not any(resource["Type"].startswith("AWS::ElastiCache::") for resource in stack.resources.values())


@pytest.mark.parametrize("mode", ["own", "own-cluster"])
def test_the_decider_is_where_the_store_is(template: Template, mode: str) -> None:
    """In the VPC that is given, or in none; the output names the security group that the store must let in."""
    outside = with_own(template, StateStoreMode=mode)
    assert not outside.holds("UsesVpc")
    inside = with_own(template, StateStoreMode=mode, **VPC)
    network = inside.value(inside.resources["DeciderFunction"]["Properties"]["VpcConfig"])
    assert network["SubnetIds"] == VPC["SubnetIds"].split(",")
    assert network["SecurityGroupIds"] == [inside.value(inside.outputs["FunctionSecurityGroupId"]["Value"])]
    assert "VpcConfig" not in inside.value(inside.resources["EngagerFunction"]["Properties"])


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"StateStoreSecretArn": ""}, "StateStoreMode own and own-cluster need StateStoreSecretArn"),
        ({"StateStoreMode": "serverless-vpc"}, "StateStoreSecretArn is for StateStoreMode own or own-cluster"),
        ({"VpcWayOut": "endpoints", "MongoDbReach": "vpc"}, "With VpcWayOut endpoints the state store must be inside"),
    ],
    ids=["no address", "no store", "no way to it"],
)
def test_what_does_not_go_together_is_refused(template: Template, given: dict[str, str], refused: str) -> None:
    """Before anything is made, with a message that says what to do."""
    assert with_own(template).broken_rules() == []
    (broken,) = with_own(template, **given).broken_rules()
    assert broken.startswith(refused)


def test_the_user_to_make_is_told(template: Template) -> None:
    """The guide gives him a password and, beyond that, what the stack's own user may do."""
    access = template.of_type("AWS::ElastiCache::User")["StateStoreUser"]["AccessString"].removeprefix("on ")
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert f"ACL SETUSER opportune on >PASSWORD {access}\n" in guide
