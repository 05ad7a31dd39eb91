"""The demo without passwords: functions and marketer authenticate to MongoDB with IAM, with their own rights."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from opportune.demo.run import PUBLIC_KEY, SECRET_KEY_VARIABLE
from opportune.demo.scenario.customers import import_customers
from opportune.demo.scenario.play import play
from opportune.demo.stack_observer import StackObserver
from opportune.events.send import Endpoint
from opportune.local.stack import Stack
from opportune.system.subprocesses import Subprocesses
from shared import mongodb
from shared.settings import DECIDER, ENGAGER
from tests.support.atlas import Atlas
from tests.support.caller_identity import Sts, computer
from tests.support.command_line import program
from tests.support.paths import ROOT
from tests.support.secured_mongod import MARKETER, SecuredMongod, role_arn, with_settings
from tests.support.whole_system import KEYS


@pytest.fixture(name="sts", scope="module")
def _sts() -> Sts:
    return Sts()


@pytest.fixture(name="atlas", scope="module")
def _atlas(servers: Subprocesses, sts: Sts) -> Iterator[Atlas]:
    with SecuredMongod(servers) as cluster, Atlas(cluster, sts) as atlas:
        yield atlas


@pytest.fixture(name="profile")
def _profile(sts: Sts, tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """Make this the computer of a marketer with an AWS profile; return the variables that select it."""
    lines = (f"{name.lower()} = {value}" for name, value in sts.issue(MARKETER).environment.items())
    (tmp_path / "credentials").write_text("\n".join(["[marketing]", *lines]))
    files = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"), "AWS_CONFIG_FILE": os.devnull}
    variables = {**files, "AWS_PROFILE": "marketing", "AWS_EC2_METADATA_DISABLED": "true"}
    with computer(**variables):
        yield variables


def opportune(*arguments: str, atlas: Atlas, cwd: Path, env: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run the command line as the marketer."""
    variables = {"PATH": os.environ["PATH"], "COLUMNS": "160", "OPPORTUNE_MONGODB_URL": atlas.url, **KEYS, **env}
    return subprocess.run([program(), *arguments], cwd=cwd, capture_output=True, text=True, check=False, env=variables)


def test_the_demo_passes(atlas: Atlas, sts: Sts, profile: Mapping[str, str], tmp_path: Path) -> None:
    """A marketer publishes with their profile. Each function reads and writes with its own role."""
    definitions = str(ROOT / "campaigns" / "demo")
    with Stack(
        state_dir=tmp_path / "stack" / ".opportune",
        keys=KEYS,
        ses_identities=("casino.example",),
        mongodb_url=atlas.url,
        functions=with_settings(lambda name: sts.issue(role_arn(name)).environment),
    ) as stack:
        database = mongodb.database(atlas.url, "opportune")
        import_customers(database, "iam")
        published = opportune("publish", definitions, atlas=atlas, cwd=tmp_path, env=profile)
        assert published.returncode == 0, published.stderr
        browser = Endpoint(stack.http_url, PUBLIC_KEY)
        server = Endpoint(stack.http_url, KEYS[SECRET_KEY_VARIABLE])
        results = list(play(browser, server, StackObserver(stack, database), "iam"))
        database.client.close()
    assert [(result.title, result.actual) for result in results if not result.passed] == []
    assert {role_arn(DECIDER), role_arn(ENGAGER), MARKETER} <= set(atlas.entered)
    assert atlas.refused == []


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"AWS_PROFILE": "nobody"}, "no_credentials: MongoDB: no AWS credentials: ProfileNotFound"),
        ({"AWS_ACCESS_KEY_ID": "AKIA0", "AWS_SECRET_ACCESS_KEY": "wrong", "AWS_PROFILE": ""}, "database_refused"),
    ],
    ids=["no profile", "a stranger"],
)
def test_a_rejected_marketer_reads_why(
    changed: dict[str, str], says: str, atlas: Atlas, profile: Mapping[str, str], tmp_path: Path
) -> None:
    """The error is one line, with exit code 2."""
    env = {name: value for name, value in {**profile, **changed}.items() if value}
    done = opportune("versions", "demo", atlas=atlas, cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "wrong" not in done.stdout + done.stderr
