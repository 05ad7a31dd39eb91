"""What a stack costs: the sums, and that they are of this template."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from opportune import cost

ROOT = Path(__file__).resolve().parents[2]


def test_the_number_of_alarms_and_secrets_is_that_of_the_template() -> None:
    """Whoever adds an alarm adds its price; the address of MongoDB is a secret besides. The store is serverless."""
    text = (ROOT / "template.yaml").read_text(encoding="utf-8")
    alarms = re.findall(r"Type: AWS::CloudWatch::Alarm\n(?!    Condition: StateStoreHasNodes\n)", text)
    assert len(alarms) == cost.ALARMS
    assert len(re.findall(r"Type: AWS::SecretsManager::Secret$", text, flags=re.MULTILINE)) + 1 == cost.SECRETS


def test_lambda_for_a_million_events() -> None:
    """By hand: irrelevant events alone, 1.3 ms of the Gateway on 0.29 of a processor, 0.5 GB, and one call each."""
    by_hand = 1.3e-3 * 1e6 * (1769 / 512) * 0.5 * 0.0000133334 + 0.20
    assert cost.functions(0, 0) == pytest.approx(by_hand)
    assert cost.functions(1, 0) > cost.functions(0.1, 0) > cost.functions(0, 0)


def test_the_tables_fit_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Eighty columns, with a sum; nonsense is a line of help and exit code 2."""
    shown = StringIO()
    console = Console(file=shown, width=80)
    assert cost.main(["10", "0.1", "0.001"], console) == 0
    assert all(len(line) <= 80 for line in shown.getvalue().splitlines())
    assert "together" in shown.getvalue()
    assert cost.PRICES_AT in shown.getvalue()
    assert cost.main(["much"], console) == 2
    assert "usage" in capsys.readouterr().err
