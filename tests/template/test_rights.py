"""Permissions: none is wider than its use, and no secret is in plain text."""

import pytest

from shared.signing import MIN_SECRET_LENGTH
from tests.support.paths import ROOT
from tests.support.stacks import AUTHENTICATION, Stack, required
from tests.template.conftest import Node, Template, listed, referred

# Managed policies of AWS, which SAM attaches to functions; their resource is "*".
MANAGED = {
    "AWSLambdaBasicExecutionRole",  # write logs
    "AWSLambdaVPCAccessExecutionRole",  # create network interfaces; EC2 has no narrower permission
    "AWSLambdaSQSQueueExecutionRole",  # poll queues
    "AWSCodeDeployRoleForLambda",  # switch aliases; for the role of CodeDeploy
}
# The statements with a wildcard, by Sid, and its meaning.
WIDER = {
    "SendMailToIdentities": "all recipients that are SES identities; the condition restricts the sender",
    "ScheduleDoorbells": "all schedules of the stack's group",
    "SendTexts": "all phone numbers: everything without an ARN in SNS",
    "SendPushes": "all devices of the account",
    "CheckTextOptOuts": "SNS has no narrower permission",
}


def test_no_permission_is_wider_than_its_use(template: Template) -> None:
    """No statement has a wildcard in its actions, and only those that need one have it in their resources."""
    statements = list(template.statements())
    assert statements
    wider = set()
    for role, statement in statements:
        assert statement["Effect"] == "Allow"
        assert not any("*" in action for action in listed(statement["Action"])), role
        if "NotResource" in statement or "*" in str(statement["Resource"]):
            wider.add(statement["Sid"])
    assert wider == WIDER.keys()


def test_the_engager_may_publish_to_no_topic(template: Template) -> None:
    """It may publish to phone numbers and to devices of this account."""
    rights = {s["Sid"]: s for role, s in template.statements() if "sns:Publish" in listed(s["Action"])}
    assert rights.keys() == {"SendTexts", "SendPushes"}
    assert rights["SendTexts"]["NotResource"] == {"Fn::Sub": "arn:${AWS::Partition}:sns:*:*:*"}
    devices = "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:endpoint/*"
    assert rights["SendPushes"]["Resource"] == {"Fn::Sub": devices}


@pytest.mark.parametrize(
    ("identity", "senders"),
    [
        ("shop.example", ["*@shop.example", "*.shop.example"]),
        ("news@shop.example", "news@shop.example"),
    ],
)
def test_mail_is_sent_only_from_the_sender(template: Template, identity: str, senders: object) -> None:
    """The Engager may use the sender's identity, and may send to other identities from the sender only."""
    stack = Stack(template, {**required(template), "SenderIdentity": identity})
    statements = [stack.value(s) for _, s in template.statements() if "ses:SendEmail" in listed(s["Action"])]
    own, others = statements
    known = "arn:aws:ses:eu-central-1:123456789012:"
    assert own["Resource"] == [f"{known}identity/{identity}", f"{known}configuration-set/<MailConfiguration>"]
    assert others["Resource"] == f"{known}identity/*"
    assert others["Condition"] == {"StringLike": {"ses:FromAddress": senders}}


def test_only_the_decider_schedules_doorbells(template: Template) -> None:
    """It creates and deletes schedules of the group, and passes one role to the scheduler."""
    holders = {
        action: (role, statement)
        for role, statement in template.statements()
        for action in listed(statement["Action"])
        if action.startswith(("scheduler:", "iam:"))
    }
    assert holders.keys() == {"scheduler:CreateSchedule", "scheduler:DeleteSchedule", "iam:PassRole"}
    assert {role for role, _ in holders.values()} == {"DeciderFunctionRole"}
    passing = holders["iam:PassRole"][1]
    assert passing["Resource"] == {"Fn::GetAtt": ["ScheduleRole", "Arn"]}
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "scheduler.amazonaws.com"}}
    variables = template.functions["decider"]["Environment"]["Variables"]
    assert variables["OPPORTUNE_SCHEDULE_ROLE_ARN"] == passing["Resource"]
    (group,) = template.of_type("AWS::Scheduler::ScheduleGroup")
    assert variables["OPPORTUNE_SCHEDULE_GROUP"] == {"Ref": group}
    assert f":schedule/${{{group}}}/*" in str(holders["scheduler:CreateSchedule"][1]["Resource"])


def test_the_schedule_role_only_sends_doorbells(template: Template) -> None:
    """Only the scheduler assumes it, for this group. It may send to the doorbells and to their dead-letter queue."""
    (trust,) = template.of_type("AWS::IAM::Role")["ScheduleRole"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    (group,) = template.of_type("AWS::Scheduler::ScheduleGroup")
    assert trust["Condition"]["StringEquals"] == {
        "aws:SourceAccount": {"Ref": "AWS::AccountId"},
        "aws:SourceArn": {"Fn::GetAtt": [group, "Arn"]},
    }
    rights = [(s["Action"], *referred(s["Resource"])) for role, s in template.statements() if role == "ScheduleRole"]
    assert rights == [("sqs:SendMessage", "Doorbells"), ("sqs:SendMessage", "SchedulesDead")]
    variables = template.functions["decider"]["Environment"]["Variables"]
    assert variables["OPPORTUNE_DOORBELLS_QUEUE_ARN"] == {"Fn::GetAtt": ["Doorbells", "Arn"]}
    assert variables["OPPORTUNE_SCHEDULES_DEAD_ARN"] == {"Fn::GetAtt": ["SchedulesDead", "Arn"]}


def test_only_known_managed_policies(template: Template) -> None:
    """Roles have only the managed policies that SAM attaches to functions."""
    for role in template.of_type("AWS::IAM::Role").values():
        for arn in role.get("ManagedPolicyArns", ()):
            assert str(arn).rsplit("/", 1)[1].rstrip("'}") in MANAGED


def test_the_gateway_may_only_call_the_decider_and_read_its_secrets(template: Template) -> None:
    """The public edge has no data access, and only the secrets for user ids and for CloudFront."""
    rights = [statement for role, statement in template.statements() if role == "GatewayFunctionRole"]
    assert [(listed(r["Action"]), r["Resource"]) for r in rights] == [
        (["lambda:InvokeFunction"], {"Ref": template.alias("decider")}),
        (["secretsmanager:GetSecretValue"], {"Ref": "IdentitySecret"}),
        (["secretsmanager:GetSecretValue"], {"Ref": "OriginSecret"}),
    ]
    # Without a distribution, neither the secret nor the permission to read it exists.
    conditions = {template.resources[name]["Condition"] for name in ("OriginSecret", "GatewayReadsOriginSecret")}
    assert conditions == {"HasDistribution"}


def test_three_functions_may_invoke_themselves(template: Template) -> None:
    """They continue unfinished work in another invocation, through their own alias."""
    rights = [(role, s["Resource"]) for role, s in template.statements() if s.get("Sid") == "InvokeItself"]
    assert rights == [
        (f"{name.title()}FunctionRole", {"Ref": template.alias(name)}) for name in ("decider", "engager", "refresher")
    ]


@pytest.mark.parametrize("endpoint", ["api", "cloudfront"])
@pytest.mark.parametrize("authentication", AUTHENTICATION)
def test_no_secret_is_in_plain_text(template: Template, authentication: str, endpoint: str) -> None:
    """Environments have the ARNs of secrets, and each function may read exactly the secrets of its environment.

    With IAM, the address of MongoDB is not a secret, and no function may read a secret for it.
    """
    assert set(template.of_type("AWS::SecretsManager::Secret")) == {"SigningSecret", "IdentitySecret", "OriginSecret"}
    stack = Stack(template, {**required(template, authentication), "PublicEndpoint": endpoint})
    ((_, mongodb),) = AUTHENTICATION[authentication].items()
    secrets = {"OPPORTUNE_SIGNING_SECRET": "<SigningSecret>", "OPPORTUNE_IDENTITY_SECRET": "<IdentitySecret>"}
    secrets["OPPORTUNE_ORIGIN_SECRET"] = "<OriginSecret>"
    if authentication == "by secret":
        secrets["OPPORTUNE_MONGODB_URL"] = mongodb
    for name, function in template.functions.items():
        variables = stack.value(function["Environment"]["Variables"])
        assert variables.get("OPPORTUNE_MONGODB_URL", mongodb) == mongodb, name
        assert all(variables.get(variable, arn) == arn for variable, arn in secrets.items()), name
        allowed = [
            arn
            for policy in _policies(stack, f"{name.title()}FunctionRole")
            for statement in listed(policy["PolicyDocument"]["Statement"])
            if "secretsmanager:GetSecretValue" in listed(statement["Action"])
            for arn in listed(statement["Resource"])
        ]
        assert sorted(allowed) == sorted(arn for variable, arn in secrets.items() if variable in variables), name


def _policies(stack: Stack, role: str) -> list[Node]:
    """Return the policies of *role*: inline ones, and those that are resources of their own."""
    own: list[Node] = stack.value(stack.resources[role]["Properties"]["Policies"])
    policies = [r["Properties"] for r in stack.resources.values() if r["Type"] == "AWS::IAM::Policy"]
    return own + [stack.value(each) for each in policies if {"Ref": role} in each["Roles"]]


def test_the_outputs_have_the_database_users_to_create(template: Template) -> None:
    """They have the role of every function that connects to MongoDB, with or without IAM."""
    outputs = {n: o["Value"] for n, o in template.translated["Outputs"].items() if n.endswith("RoleArn")}
    connecting = [n for n, f in template.functions.items() if "OPPORTUNE_MONGODB_URL" in f["Environment"]["Variables"]]
    assert connecting
    assert outputs == {f"{n.title()}RoleArn": {"Fn::GetAtt": [f"{n.title()}FunctionRole", "Arn"]} for n in connecting}


def test_secrets_are_long_and_outlive_the_stack(template: Template) -> None:
    """Unsubscribe links and site keys must keep working, so nothing deletes these secrets."""
    for name in template.of_type("AWS::SecretsManager::Secret"):
        secret = template.resources[name]
        assert secret["Properties"]["GenerateSecretString"]["PasswordLength"] >= MIN_SECRET_LENGTH
        kept = name != "OriginSecret"  # nothing outside the stack depends on it
        policies = ("RetainExceptOnCreate", "Retain") if kept else ("Delete", "Delete")
        assert (secret["DeletionPolicy"], secret["UpdateReplacePolicy"]) == policies


def test_no_two_functions_share_a_role(template: Template) -> None:
    """Each function has its own role, which only Lambda may assume."""
    roles = [function["Role"]["Fn::GetAtt"][0] for function in template.functions.values()]
    assert len(set(roles)) == len(roles) == len(template.functions)
    for role in roles:
        (trust,) = template.of_type("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": ["lambda.amazonaws.com"]}


def test_the_state_store_has_no_password(template: Template) -> None:
    """The user authenticates with IAM, and the default user of Redis has no permissions."""
    users = template.of_type("AWS::ElastiCache::User")
    assert users.keys() == {"StateStoreUser", "StateStoreDefaultUser"}
    assert all("Passwords" not in user for user in users.values())
    user, default = users["StateStoreUser"], users["StateStoreDefaultUser"]
    assert user["AuthenticationMode"] == {"Type": "iam"}
    assert user["UserName"] == user["UserId"]
    assert default["AccessString"] == "off ~* -@all"
    connecting = {
        role: {name for resource in listed(statement["Resource"]) for name in referred(resource)}
        for role, statement in template.statements()
        if "elasticache:Connect" in listed(statement["Action"])
    }
    assert connecting.keys() == {"DeciderFunctionRole"}
    assert {"StateStore", "StateStoreNodes", "StateStoreUser"} <= connecting["DeciderFunctionRole"]
    variables = Stack(template, required(template)).value(template.functions["decider"]["Environment"]["Variables"])
    assert variables["OPPORTUNE_REDIS_USER"].startswith("<StateStoreUser:")


def test_every_skipped_check_of_checkov_has_a_reason() -> None:
    """The reason is on the same line."""
    lines = (ROOT / ".checkov.yaml").read_text(encoding="utf-8").splitlines()
    skipped = [line for line in lines if line.startswith("  - ")]
    assert skipped
    assert all(len(line.partition(" # ")[2]) > 30 for line in skipped)
