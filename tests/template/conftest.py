"""The template as written, and as SAM translates it for CloudFormation."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.paths import ROOT

SAM_PYTHON = ROOT / ".venv-sam" / "bin" / "python"

# Runs in the virtual environment of the SAM CLI, whose requirements conflict with those of the project.
TRANSLATE = """
import json, sys
import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER as schemas

source = yaml_parse(open(sys.argv[1]).read())
template = yaml_parse(open(sys.argv[1]).read())
if "Globals" in template:
    template["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"
session = boto3.session.Session(region_name="eu-central-1")
translated = Translator({}, Parser(), boto_session=session).translate(template, json.loads(sys.argv[2]))
region = session.region_name
kinds = {resource["Type"]: schemas.get_resource_schema(region, resource["Type"]).schema for resource in
         translated["Resources"].values()}
identifiers = {kind: schema.get("primaryIdentifier", []) for kind, schema in kinds.items()}
print(json.dumps({"source": source, "translated": translated, "identifiers": identifiers}))
"""
PARAMETERS = {
    "MongoDbSecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:mongodb-abcdef",
    "SenderIdentity": "example.com",
    "DeploymentSpeed": "Canary10Percent5Minutes",
}
Node = dict[str, Any]


@dataclass(frozen=True)
class Template:
    """A template: ``source`` as written, ``translated`` by SAM.

    ``identifiers``: for each resource type, the paths of the properties that identify a resource.
    """

    source: Node
    translated: Node
    identifiers: dict[str, list[str]]

    @property
    def resources(self) -> dict[str, Node]:
        """The translated resources, by name."""
        resources: dict[str, Node] = self.translated["Resources"]
        return resources

    def of_type(self, kind: str) -> dict[str, Node]:
        """Return the properties of all resources of type *kind*, by name."""
        return {name: r.get("Properties", {}) for name, r in self.resources.items() if r["Type"] == kind}

    @property
    def functions(self) -> dict[str, Node]:
        """The functions, by their names in the code."""
        found = self.of_type("AWS::Lambda::Function")
        return {name.removesuffix("Function").lower(): properties for name, properties in found.items()}

    def alias(self, function: str) -> str:
        """Return the name of the alias of a function."""
        (name,) = (
            name
            for name, alias in self.of_type("AWS::Lambda::Alias").items()
            if alias["FunctionName"] == {"Ref": f"{function.title()}Function"}
        )
        return name

    def statements(self) -> Iterator[tuple[str, Node]]:
        """Yield the role and the statement for every statement that a role's policies may have."""
        own = [(role, each.get("Policies", ())) for role, each in self.of_type("AWS::IAM::Role").items()]
        added = [
            (role["Ref"], [each])
            for each in self.of_type("AWS::IAM::Policy").values()
            for role in each.get("Roles", ())
        ]
        for role, policies in [*own, *added]:
            for policy in possible(policies):
                for statement in possible(listed(policy["PolicyDocument"]["Statement"])):
                    yield role, statement


def listed(value: Any) -> list[Any]:
    """Return *value* as a list; a list is returned unchanged."""
    return value if isinstance(value, list) else [value]


def possible(nodes: Iterable[Any]) -> Iterator[Any]:
    """Yield *nodes*. For a node with a condition, yield each alternative."""
    for node in nodes:
        if node.keys() == {"Fn::If"}:
            yield from possible(each for each in node["Fn::If"][1:] if each != {"Ref": "AWS::NoValue"})
        else:
            yield node


def referred(node: Any) -> Iterator[str]:
    """Yield the logical names to which Ref, GetAtt, Sub and DependsOn in *node* refer."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "Ref":
                yield value
            elif key == "Fn::GetAtt":
                yield (value[0] if isinstance(value, list) else value.split(".")[0])
            elif key == "DependsOn":
                yield from listed(value)
            elif key == "Fn::Sub":
                text = value[0] if isinstance(value, list) else value
                yield from (part.split("}")[0].split(".")[0] for part in text.split("${")[1:])
                yield from referred(value[1] if isinstance(value, list) else None)
            else:
                yield from referred(value)
    elif isinstance(node, list):
        for item in node:
            yield from referred(item)


def translated(file: str = "template.yaml", **parameters: str) -> Template:
    """Return a template, translated as by `sam deploy`, with *parameters*."""
    if not SAM_PYTHON.exists():
        pytest.skip("the SAM CLI is not installed: make .venv-sam")
    given = json.dumps(PARAMETERS | parameters)
    command = [str(SAM_PYTHON), "-c", TRANSLATE, str(ROOT / file), given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Template(**json.loads(done.stdout))


@pytest.fixture(scope="session")
def template() -> Template:
    """Return the template with a gradual deployment: with AllAtOnce, SAM leaves out the resources for it."""
    return translated()


@pytest.fixture(scope="session")
def web_acl() -> Template:
    """Return the template of the web ACL, which is a stack of its own."""
    return translated("infrastructure/web-acl.yaml")
