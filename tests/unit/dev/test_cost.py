"""The cost of a stack: the sums, and that they match the template."""

from collections import Counter
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from opportune.dev import cost
from tests.support.template_source import template_source

WEB_ACL = "infrastructure/web-acl.yaml"
DISTRIBUTION = ("HasDistribution", "RefusesDirectRequests")


def resources(file: str) -> list[Any]:
    """Return the resources of a template."""
    return list(template_source(file)["Resources"].values())


def counted(included: Callable[[str], bool]) -> Counter[str]:
    """Count the resources by type, of those whose condition *included* accepts."""
    return Counter(each["Type"] for each in resources("template.yaml") if included(each.get("Condition", "")))


def test_the_template_has_as_many_alarms_and_secrets() -> None:
    """A new alarm or secret adds its price. MongoDB's address is one more secret. The store is serverless."""
    always = counted(lambda condition: condition not in (*DISTRIBUTION, "StateStoreHasNodes"))
    distribution = counted(lambda condition: condition in DISTRIBUTION)
    assert always["AWS::CloudWatch::Alarm"] == cost.ALARMS
    assert always["AWS::SecretsManager::Secret"] + 1 == cost.SECRETS
    assert distribution["AWS::CloudWatch::Alarm"] == cost.DISTRIBUTION_ALARMS
    assert distribution["AWS::SecretsManager::Secret"] == cost.DISTRIBUTION_SECRETS


def test_the_web_acl_has_as_many_rules_and_alarms_as_its_template() -> None:
    """AWS WAF charges for each rule."""
    (acl,) = (each for each in resources(WEB_ACL) if each["Type"] == "AWS::WAFv2::WebACL")
    assert len(acl["Properties"]["Rules"]) == cost.WEB_ACL_RULES
    assert sum(each["Type"] == "AWS::CloudWatch::Alarm" for each in resources(WEB_ACL)) == cost.WEB_ACL_ALARMS


def test_lambda_for_a_million_events() -> None:
    """By hand, for irrelevant events: 1.3 ms of the Gateway on 0.29 of a processor, 0.5 GB, and one call each."""
    by_hand = 1.3e-3 * 1e6 * (1769 / 512) * 0.5 * 0.0000133334 + 0.20
    assert cost.functions(0, 0) == pytest.approx(by_hand)
    assert cost.functions(1, 0) > cost.functions(0.1, 0) > cost.functions(0, 0)


def test_the_tables_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """The tables fit 80 columns and have a total. Invalid arguments print the usage and exit with 2."""
    shown = StringIO()
    console = Console(file=shown, width=80)
    assert cost.main(["10", "0.1", "0.001"], console) == 0
    assert all(len(line) <= 80 for line in shown.getvalue().splitlines())
    assert "total" in shown.getvalue()
    assert cost.PRICES_AT in shown.getvalue()
    assert cost.main(["much"], console) == 2
    assert "usage" in capsys.readouterr().err
