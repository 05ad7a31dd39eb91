"""Who may do what: no right is wider than its use, and no secret is in clear."""

import pytest

from shared.signing import MIN_SECRET_LENGTH
from tests.support.paths import ROOT
from tests.support.stacks import ENTERED, Stack, required
from tests.template.conftest import Node, Template, listed, referred

# AWS's own policies, attached by SAM to every function of a kind; their resource is "*".
MANAGED = {
    "AWSLambdaBasicExecutionRole",  # write logs
    "AWSLambdaVPCAccessExecutionRole",  # make network interfaces; EC2 knows no narrower right
    "AWSLambdaSQSQueueExecutionRole",  # poll queues
    "AWSCodeDeployRoleForLambda",  # switch aliases, and back; of CodeDeploy's own role
}
# Statements with a wildcard, by their Sid, and what it stands for.
WIDER = {
    "SendMailToIdentities": "all receivers that SES knows as identities; the condition says from whom",
    "HangDoorbellsFarAhead": "all schedules of our own group",
    "SendTexts": "all telephone numbers: everything but what has an ARN in SNS",
    "SendPushes": "all devices of the account",
    "AskWhoOptedOutOfTexts": "SNS knows no narrower right",
}


def test_no_right_is_wider_than_its_use(template: Template) -> None:
    """No statement has a wildcard, neither in its actions nor in its resources, but those that must have one."""
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
    """Texts go to numbers, pushes to devices of this account; a topic is neither."""
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
def test_mail_goes_out_from_the_sender_alone(template: Template, identity: str, senders: object) -> None:
    """The Engager may use the sender's identity, and send to others: from the sender."""
    stack = Stack(template, {**required(template), "SenderIdentity": identity})
    statements = [stack.value(s) for _, s in template.statements() if "ses:SendEmail" in listed(s["Action"])]
    own, others = statements
    known = "arn:aws:ses:eu-central-1:123456789012:"
    assert own["Resource"] == [f"{known}identity/{identity}", f"{known}configuration-set/<MailConfiguration>"]
    assert others["Resource"] == f"{known}identity/*"
    assert others["Condition"] == {"StringLike": {"ses:FromAddress": senders}}


def test_only_the_decider_hangs_doorbells(template: Template) -> None:
    """It makes and deletes schedules of the group, and hands the scheduler the one role that may only ring."""
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


def test_the_role_of_schedules_rings_and_nothing_else(template: Template) -> None:
    """Only the scheduler takes it, for our group; it sends to the doorbells and to the queue for what failed."""
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
    """Roles have no managed policies but those that SAM attaches to every function."""
    for role in template.of_type("AWS::IAM::Role").values():
        for arn in role.get("ManagedPolicyArns", ()):
            assert str(arn).rsplit("/", 1)[1].rstrip("'}") in MANAGED


def test_the_gateway_may_only_call_the_decider_and_read_its_secrets(template: Template) -> None:
    """The public edge touches no data, and has no secret but those that prove user ids and the way a request came."""
    rights = [statement for role, statement in template.statements() if role == "GatewayFunctionRole"]
    assert [(listed(r["Action"]), r["Resource"]) for r in rights] == [
        (["lambda:InvokeFunction"], {"Ref": template.alias("decider")}),
        (["secretsmanager:GetSecretValue"], {"Ref": "IdentitySecret"}),
        (["secretsmanager:GetSecretValue"], {"Ref": "OriginSecret"}),
    ]
    # Without a distribution there is neither the secret nor the right to read it.
    conditions = {template.resources[name]["Condition"] for name in ("OriginSecret", "GatewayReadsOriginSecret")}
    assert conditions == {"HasDistribution"}


def test_three_functions_may_call_themselves(template: Template) -> None:
    """What they have no time for they go on with in another invocation, of the version that they are."""
    rights = [(role, s["Resource"]) for role, s in template.statements() if s.get("Sid") == "InvokeItself"]
    assert rights == [
        (f"{name.title()}FunctionRole", {"Ref": template.alias(name)}) for name in ("decider", "engager", "refresher")
    ]


@pytest.mark.parametrize("endpoint", ["api", "cloudfront"])
@pytest.mark.parametrize("entered", ENTERED)
def test_secrets_are_nowhere_in_clear(template: Template, entered: str, endpoint: str) -> None:
    """Environments hold the secrets' ARNs, and who has one may read that secret and no other.

    Where MongoDB is entered by IAM its address is no secret, and none that holds one can be read.
    """
    assert set(template.of_type("AWS::SecretsManager::Secret")) == {"SigningSecret", "IdentitySecret", "OriginSecret"}
    stack = Stack(template, {**required(template, entered), "PublicEndpoint": endpoint})
    ((_, mongodb),) = ENTERED[entered].items()
    secrets = {"OPPORTUNE_SIGNING_SECRET": "<SigningSecret>", "OPPORTUNE_IDENTITY_SECRET": "<IdentitySecret>"}
    secrets["OPPORTUNE_ORIGIN_SECRET"] = "<OriginSecret>"
    if entered == "by secret":
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
    """Return the policies of *role*: its own, and those that are added to it."""
    own: list[Node] = stack.value(stack.resources[role]["Properties"]["Policies"])
    policies = [r["Properties"] for r in stack.resources.values() if r["Type"] == "AWS::IAM::Policy"]
    return own + [stack.value(each) for each in policies if {"Ref": role} in each["Roles"]]


def test_the_database_users_to_make_are_told(template: Template) -> None:
    """The outputs name the role of every function that enters MongoDB, also before it is entered by IAM."""
    told = {n: o["Value"] for n, o in template.translated["Outputs"].items() if n.endswith("RoleArn")}
    entering = [n for n, f in template.functions.items() if "OPPORTUNE_MONGODB_URL" in f["Environment"]["Variables"]]
    assert entering
    assert told == {f"{n.title()}RoleArn": {"Fn::GetAtt": [f"{n.title()}FunctionRole", "Arn"]} for n in entering}


def test_secrets_are_long_and_outlive_the_stack(template: Template) -> None:
    """Links in mails and keys of sites must go on to work: nothing deletes such a secret, and nothing short is made."""
    for name in template.of_type("AWS::SecretsManager::Secret"):
        secret = template.resources[name]
        assert secret["Properties"]["GenerateSecretString"]["PasswordLength"] >= MIN_SECRET_LENGTH
        kept = name != "OriginSecret"  # which nothing outside the stack depends on
        policies = ("RetainExceptOnCreate", "Retain") if kept else ("Delete", "Delete")
        assert (secret["DeletionPolicy"], secret["UpdateReplacePolicy"]) == policies


def test_no_two_functions_share_a_role(template: Template) -> None:
    """Each function has a role of its own, which only Lambda may take."""
    roles = [function["Role"]["Fn::GetAtt"][0] for function in template.functions.values()]
    assert len(set(roles)) == len(roles) == len(template.functions)
    for role in roles:
        (trust,) = template.of_type("AWS::IAM::Role")[role]["AssumeRolePolicyDocument"]["Statement"]
        assert trust["Principal"] == {"Service": ["lambda.amazonaws.com"]}


def test_the_state_store_knows_no_password(template: Template) -> None:
    """Users come in by IAM alone; the one for Redis that everybody is by default may do nothing."""
    users = template.of_type("AWS::ElastiCache::User")
    assert users.keys() == {"StateStoreUser", "StateStoreNobody"}
    assert all("Passwords" not in user for user in users.values())
    user, nobody = users["StateStoreUser"], users["StateStoreNobody"]
    assert user["AuthenticationMode"] == {"Type": "iam"}
    assert user["UserName"] == user["UserId"]
    assert nobody["AccessString"] == "off ~* -@all"
    entering = {
        role: {name for resource in listed(statement["Resource"]) for name in referred(resource)}
        for role, statement in template.statements()
        if "elasticache:Connect" in listed(statement["Action"])
    }
    assert entering.keys() == {"DeciderFunctionRole"}
    assert {"StateStore", "StateStoreNodes", "StateStoreUser"} <= entering["DeciderFunctionRole"]
    variables = Stack(template, required(template)).value(template.functions["decider"]["Environment"]["Variables"])
    assert variables["OPPORTUNE_REDIS_USER"].startswith("<StateStoreUser:")


def test_every_exception_of_checkov_has_its_reason() -> None:
    """What the scanner is told to leave out is said with a reason on the same line."""
    lines = (ROOT / ".checkov.yaml").read_text(encoding="utf-8").splitlines()
    skipped = [line for line in lines if line.startswith("  - ")]
    assert skipped
    assert all(len(line.partition(" # ")[2]) > 30 for line in skipped)
