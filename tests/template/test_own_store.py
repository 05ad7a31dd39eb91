"""An existing state store: the stack creates nothing for it, and its password is in no environment."""

import pytest

from tests.support.paths import ROOT
from tests.support.stacks import SAMPLES, Stack, required
from tests.template.conftest import Template, listed

SECRET = SAMPLES["StateStoreSecretArn"][1]
VPC = {"VpcId": SAMPLES["VpcId"][1], "SubnetIds": SAMPLES["SubnetIds"][1]}


def with_own(template: Template, **parameters: str) -> Stack:
    """Return a stack with an existing store."""
    own = {"StateStoreMode": "own", "StateStoreSecretArn": SECRET}
    return Stack(template, {**required(template), **own, **parameters})


@pytest.mark.parametrize(("mode", "clustered"), [("own", "false"), ("own-cluster", "true")])
def test_the_decider_reads_the_address_in_the_secret(template: Template, mode: str, clustered: str) -> None:
    """It may read the secret and knows whether the store is a cluster. No ElastiCache resource or permission exists."""
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
    """It is in the given VPC, or in none; the output has the security group that the store must allow."""
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
        ({"StateStoreMode": "serverless-vpc"}, "StateStoreSecretArn needs StateStoreMode own or own-cluster"),
        ({"VpcEgress": "endpoints", "MongoDbReach": "vpc"}, "VpcEgress endpoints needs a state store in the VPC"),
    ],
    ids=["no address", "other mode", "endpoints"],
)
def test_conflicting_parameters_are_refused(template: Template, given: dict[str, str], refused: str) -> None:
    """CloudFormation refuses them before it creates anything, and says what to do."""
    assert with_own(template).broken_rules() == []
    (broken,) = with_own(template, **given).broken_rules()
    assert broken.startswith(refused)


def test_the_guide_has_the_user_to_create(template: Template) -> None:
    """It has a password, and the permissions of the stack's own user."""
    access = template.of_type("AWS::ElastiCache::User")["StateStoreUser"]["AccessString"].removeprefix("on ")
    guide = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    assert f"ACL SETUSER opportune on >PASSWORD {access}\n" in guide
