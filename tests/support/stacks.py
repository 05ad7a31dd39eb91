"""The template with parameters, computed as far as CloudFormation can before it creates anything.

It computes the intrinsic functions that the template uses; another one raises `NotImplementedError` with its name. A
value that only exists with its resource (`Ref`, `GetAtt`) becomes a string in angle brackets: the logical id, the
identifiers that the template sets, and the attribute.
"""

import ipaddress
import itertools
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any

from tests.template.conftest import Node, Template, listed

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/opportune/1a2b3c4d-0000-0000-0000-5e6f",
    "AWS::StackName": "opportune",
    "AWS::URLSuffix": "amazonaws.com",
}
NOTHING = object()  # AWS::NoValue
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"
BY_IAM = "authMechanism=MONGODB-AWS"
# Values for the parameters that do not list theirs.
SAMPLES: dict[str, tuple[str, ...]] = {
    "AlarmEmail": ("", "ops@shop.example"),
    "AvailabilityZones": ("", "eu-central-1b,eu-central-1c"),
    "DistributionCertificateArn": ("", "arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d"),
    "DistributionDomain": ("", "events.shop.example"),
    "MongoDbDatabase": ("opportune", "marketing"),
    "MongoDbAddress": ("", *(f"mongodb+srv://{name}.abcde.mongodb.net/?{BY_IAM}" for name in ("cluster0", "cluster1"))),
    "MongoDbSecretArn": (f"{SECRET}opportune/mongodb-AbCdEf", f"{SECRET}marketing-GhIjKl", ""),
    "SenderIdentity": ("shop.example", "news@shop.example"),
    "StateStoreNodeType": ("cache.m7g.large", "cache.r7g.large"),
    "StateStoreSecretArn": ("", f"{SECRET}opportune/redis-AbCdEf", f"{SECRET}marketing-redis-GhIjKl"),
    "SubnetIds": ("", "subnet-0123456789abcdef0,subnet-0123456789abcdef1,subnet-0123456789abcdef2"),
    "VpcId": ("", "vpc-0123456789abcdef0"),
    "WebAclArn": ("", "arn:aws:wafv2:us-east-1:123456789012:global/webacl/opportune/0a1b2c3d"),
}
# Parameters that are only set with certain values of another parameter.
DEPENDENT = {
    "SubnetIds": ("VpcId", {SAMPLES["VpcId"][1]: SAMPLES["SubnetIds"][1]}),
    "StateStoreSecretArn": (
        "StateStoreMode",
        {"own": SAMPLES["StateStoreSecretArn"][1], "own-cluster": SAMPLES["StateStoreSecretArn"][1]},
    ),
    "MongoDbSecretArn": ("MongoDbAddress", {"": SAMPLES["MongoDbSecretArn"][0]}),
}
AUTHENTICATION = {  # to MongoDB: with the password in a secret, or with IAM
    "by secret": {"MongoDbSecretArn": SAMPLES["MongoDbSecretArn"][0]},
    "by IAM": {"MongoDbAddress": SAMPLES["MongoDbAddress"][1]},
}


class Missing(Exception):
    """A reference to a resource that does not exist under these parameters."""


class Stack:
    """*template* with *parameters*; the others have their defaults."""

    def __init__(self, template: Template, parameters: Mapping[str, str]) -> None:
        self._translated = template.translated
        self._identifiers = template.identifiers
        defaults = {name: str(body.get("Default", "")) for name, body in self._translated["Parameters"].items()}
        self.parameters = {**defaults, **parameters}
        self._held: dict[str, bool] = {}
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Condition": self.holds,
            "Fn::And": lambda parts: all(map(self.value, parts)),
            "Fn::Cidr": lambda parts: _cidr(*self.value(parts)),
            "Fn::Contains": lambda parts: operator.contains(*self.value(parts)),
            "Fn::Equals": lambda parts: operator.eq(*self.value(parts)),
            "Fn::GetAZs": lambda region: [f"{self.value(region) or PSEUDO['AWS::Region']}{zone}" for zone in "abc"],
            "Fn::GetAtt": self._attribute,
            "Fn::If": lambda parts: self.value(parts[1 if self.holds(parts[0]) else 2]),
            "Fn::Join": lambda parts: parts[0].join(self.value(parts[1])),
            "Fn::Not": lambda parts: not self.value(parts[0]),
            "Fn::Or": lambda parts: any(map(self.value, parts)),
            "Fn::Select": lambda parts: self.value(parts[1])[int(self.value(parts[0]))],
            "Fn::Split": lambda parts: self.value(parts[1]).split(parts[0]),
            "Fn::Sub": self._substitute,
        }

    @cached_property
    def conditions(self) -> tuple[tuple[str, bool], ...]:
        """Each condition and whether it holds. Stacks with equal conditions have the same resources."""
        return tuple((name, self.holds(name)) for name in sorted(self._translated.get("Conditions", ())))

    @cached_property
    def resources(self) -> dict[str, Node]:
        """The resources of this stack."""
        return self._present("Resources")

    @cached_property
    def outputs(self) -> dict[str, Node]:
        """The outputs of this stack."""
        return self._present("Outputs")

    def holds(self, condition: str) -> bool:
        """Return whether a condition of the template holds."""
        if condition not in self._held:
            self._held[condition] = bool(self.value(self._translated["Conditions"][condition]))
        return self._held[condition]

    def broken_rules(self) -> list[str]:
        """Return the messages of the rules that these parameters break. CloudFormation then creates nothing."""
        return [message for rule in self._translated.get("Rules", {}).values() for message in self.broken(rule)]

    def broken(self, rule: Node) -> list[str]:
        """Return the messages of the assertions of *rule* that these parameters break."""
        if not self.value(rule.get("RuleCondition", True)):
            return []
        return [each["AssertDescription"] for each in rule["Assertions"] if not self.value(each["Assert"])]

    def value(self, node: Any) -> Any:
        """Return *node* computed; raises `Missing`."""
        if isinstance(node, dict):
            if len(node) == 1:
                ((name, argument),) = node.items()
                if name in self._functions:
                    return self._functions[name](argument)
                if name.startswith("Fn::"):
                    raise NotImplementedError(name)
            values = {name: self.value(each) for name, each in node.items()}
            return {name: each for name, each in values.items() if each is not NOTHING}
        if isinstance(node, list):
            return [each for each in map(self.value, node) if each is not NOTHING]
        return node

    def check(self) -> None:
        """Compute all resources and outputs; raises `Missing` if a reference has no resource."""
        for name, body in {**self.resources, **self.outputs}.items():
            for needed in listed(body.get("DependsOn", [])):
                self._identity(needed)
            try:
                self.value({part: each for part, each in body.items() if part not in ("Condition", "DependsOn")})
            except Missing as error:
                raise Missing(f"{name}: {error}") from error

    def _present(self, part: str) -> dict[str, Node]:
        all_: dict[str, Node] = self._translated[part]
        return {name: body for name, body in all_.items() if "Condition" not in body or self.holds(body["Condition"])}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        if name in self.parameters:
            value = self.parameters[name]
            return value.split(",") if "List" in self._translated["Parameters"][name]["Type"] else value
        return PSEUDO.get(name) or f"<{self._identity(name)}>"

    def _attribute(self, path: Any) -> str:
        name, attribute = path if isinstance(path, list) else path.split(".", 1)
        return f"<{self._identity(name)}.{attribute}>"

    def _identity(self, name: str) -> str:
        if name not in self.resources:
            raise Missing(f"{name} does not exist")
        resource = self.resources[name]
        parts = [path.removeprefix("/properties/") for path in self._identifiers[resource["Type"]]]
        given = [
            str(self.value(resource["Properties"][part])) for part in parts if part in resource.get("Properties", {})
        ]
        return ":".join([name, *given])

    def _substitute(self, argument: Any) -> str:
        text, given = argument if isinstance(argument, list) else (argument, {})

        def replacement(found: re.Match[str]) -> str:
            name = found[1]
            if name in given:
                return str(self.value(given[name]))
            return self._attribute(name) if "." in name else str(self._ref(name))

        return re.sub(r"\$\{([^!][^}]*)\}", replacement, text)


def _cidr(block: str, count: str | int, bits: str | int) -> list[str]:
    network = ipaddress.ip_network(block)
    parts = network.subnets(new_prefix=network.max_prefixlen - int(bits))
    found = [str(part) for part in itertools.islice(parts, int(count))]
    if len(found) < int(count):
        raise ValueError(f"{block} has no room for {count} blocks of {bits} bits")
    return found


def allows(template: Template, parameter: str, value: str) -> bool:
    """Return whether CloudFormation accepts *value* for *parameter*."""
    body = template.translated["Parameters"][parameter]
    return (
        str(value) in [str(each) for each in body.get("AllowedValues", [value])]
        and re.fullmatch(body.get("AllowedPattern", ".*"), value) is not None
        and len(value) <= int(body.get("MaxLength", 4096))
    )


def values_of(template: Template, parameter: str) -> tuple[str, ...]:
    """Return the values to test for *parameter*: all allowed ones, or samples."""
    body = template.translated["Parameters"][parameter]
    return tuple(map(str, body["AllowedValues"])) if "AllowedValues" in body else SAMPLES[parameter]


def refs(node: Any) -> Iterator[str]:
    """Yield the names to which a Ref in *node* refers."""
    if isinstance(node, dict):
        for name, argument in node.items():
            yield from [argument] if name == "Ref" else refs(argument)
    elif isinstance(node, list):
        for each in node:
            yield from refs(each)


def stacks(template: Template) -> list[Stack]:
    """Return one stack for each possible combination of conditions."""
    translated = template.translated
    names = sorted({*refs(translated["Conditions"]), *refs(translated.get("Rules", {}))} - DEPENDENT.keys())
    given = required(template)
    rules = {name: (rule, sorted(set(refs(rule)))) for name, rule in translated.get("Rules", {}).items()}
    # Few parameters decide a rule, so most combinations have been judged before.
    verdicts: dict[tuple[str, ...], bool] = {}
    found: dict[tuple[tuple[str, bool], ...], Stack] = {}
    for values in itertools.product(*(values_of(template, name) for name in names)):
        parameters = dict(zip(names, values, strict=True))
        for name, (other, dependent) in DEPENDENT.items():
            parameters[name] = dependent.get(parameters[other], "")
        stack = Stack(template, {**given, **parameters})
        for name, (rule, used) in rules.items():
            key = (name, *(stack.parameters[each] for each in used))
            if key not in verdicts:
                verdicts[key] = not stack.broken(rule)
            if not verdicts[key]:
                break
        else:
            found.setdefault(stack.conditions, stack)
    return list(found.values())


def required(template: Template, authentication: str = "by secret") -> dict[str, str]:
    """Return values for the parameters without a default, and for the *authentication* to MongoDB."""
    given = {
        name: values_of(template, name)[0]
        for name, body in template.translated["Parameters"].items()
        if "Default" not in body
    }
    return {**given, **AUTHENTICATION[authentication]}
