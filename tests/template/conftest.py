"""The template as written, and as CloudFormation gets it."""

import json
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.paths import ROOT

SAM_PYTHON = ROOT / ".venv-sam" / "bin" / "python"

# Runs in the environment of the SAM CLI, whose requirements clash with ours.
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
    """Resources by their names: ``source`` as written, ``resources`` as translated.

    ``identifiers``: by type of resource, the paths of the properties that tell one from another.
    """

    source: Node
    translated: Node
    identifiers: dict[str, list[str]]

    @property
    def resources(self) -> dict[str, Node]:
        """The resources that CloudFormation makes."""
        resources: dict[str, Node] = self.translated["Resources"]
        return resources

    def of_type(self, kind: str) -> dict[str, Node]:
        """Return the properties of all resources of a type, by name."""
        return {name: r.get("Properties", {}) for name, r in self.resources.items() if r["Type"] == kind}

    @property
    def functions(self) -> dict[str, Node]:
        """The functions, by the name they have in the code."""
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
        """Yield every statement that any role's own policies may have, with the role's name."""
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
    """Return a value that may be one or many as a list."""
    return value if isinstance(value, list) else [value]


def possible(nodes: Iterable[Any]) -> Iterator[Any]:
    """Yield *nodes*; of one that depends on a condition, what it may be."""
    for node in nodes:
        if node.keys() == {"Fn::If"}:
            yield from possible(each for each in node["Fn::If"][1:] if each != {"Ref": "AWS::NoValue"})
        else:
            yield node


def referred(node: Any) -> Iterator[str]:
    """Yield the logical names that Ref, GetAtt, Sub and DependsOn in *node* refer to."""
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
    """Return a template, translated as `sam deploy` would have it, with *parameters*."""
    if not SAM_PYTHON.exists():
        pytest.skip("the SAM CLI is not installed: make .venv-sam")
    given = json.dumps(PARAMETERS | parameters)
    command = [str(SAM_PYTHON), "-c", TRANSLATE, str(ROOT / file), given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Template(**json.loads(done.stdout))


@pytest.fixture(scope="session")
def template() -> Template:
    """Return the template with what only some parameters bring: SAM leaves it out with the others."""
    return translated()


@pytest.fixture(scope="session")
def web_acl() -> Template:
    """Return the template of what guards the distribution, which is a stack of its own."""
    return translated("web-acl.yaml")
