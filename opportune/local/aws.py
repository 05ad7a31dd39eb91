"""Stand-ins for SQS, SES, SNS and EventBridge Scheduler: moto's server in a subprocess, and its resources.

``python -m opportune.local.aws [START_MS,SPEED]`` serves on a free port and prints it. The argument is
the functions' clock, if it is not the wall clock.
"""

import json
import logging
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import botocore.session
from botocore.config import Config

from opportune.local import accepted
from opportune.system.ports import HOST
from opportune.system.subprocesses import Subprocesses
from shared import clock

REGION = "eu-central-1"
ACCOUNT = "123456789012"
ACCESS_KEY = SECRET_KEY = "local"
DELIVERIES, DEAD_LETTERS = "deliveries", "deliveries-dead"
DOORBELLS, DEAD_DOORBELLS = "doorbells", "doorbells-dead"
DEAD_SCHEDULES = "schedules-dead"
SCHEDULE_GROUP = "opportune"
# moto checks no permissions, so the role need not exist.
SCHEDULE_ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/schedules"
PUSH_APPLICATION = "opportune"
MAX_RECEIVE_COUNT = 5
VISIBILITY_TIMEOUT_S = 30

Mail = dict[str, Any]


@dataclass(frozen=True)
class Resources:
    """The queues and the schedule group that `create_resources` made."""

    queue_url: str
    queue_arn: str
    dead_letter_url: str
    doorbells_url: str
    doorbells_arn: str
    dead_doorbells_url: str
    dead_schedules_url: str
    dead_schedules_arn: str
    schedule_group: str


def start(subprocesses: Subprocesses, clock_text: str = "") -> str:
    """Start the AWS stand-in and return its URL; *clock_text* is the functions' clock, ``START_MS,SPEED``."""
    arguments = [clock_text] if clock_text else []
    child = subprocesses.start("aws", [sys.executable, "-m", "opportune.local.aws", *arguments], piped=True)
    # The read ends with the port or with the process, so it cannot hang.
    line = child.stdout.readline()
    if not line.strip().isdigit():
        child.kill()
        raise child.failure("ended while starting")
    return f"http://{HOST}:{int(line)}"


def create_resources(aws_url: str, identities: Iterable[str] = ()) -> Resources:
    """Create the queues, the group for one-time schedules, and the SES *identities*."""
    sqs = client("sqs", aws_url)

    def queue(name: str, dead: str) -> tuple[str, str]:
        """Create a queue and its dead-letter queue; return the URLs of both."""
        dead_url = sqs.create_queue(QueueName=dead)["QueueUrl"]
        redrive = {"deadLetterTargetArn": queue_arn(dead), "maxReceiveCount": MAX_RECEIVE_COUNT}
        attributes = {"VisibilityTimeout": str(VISIBILITY_TIMEOUT_S), "RedrivePolicy": json.dumps(redrive)}
        return sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"], dead_url

    queue_url, dead_letter_url = queue(DELIVERIES, DEAD_LETTERS)
    doorbells_url, dead_doorbells_url = queue(DOORBELLS, DEAD_DOORBELLS)
    dead_schedules_url = sqs.create_queue(QueueName=DEAD_SCHEDULES)["QueueUrl"]
    client("scheduler", aws_url).create_schedule_group(Name=SCHEDULE_GROUP)
    ses = client("sesv2", aws_url)
    for identity in identities:
        ses.create_email_identity(EmailIdentity=identity)
    return Resources(
        queue_url=queue_url,
        queue_arn=queue_arn(DELIVERIES),
        dead_letter_url=dead_letter_url,
        doorbells_url=doorbells_url,
        doorbells_arn=queue_arn(DOORBELLS),
        dead_doorbells_url=dead_doorbells_url,
        dead_schedules_url=dead_schedules_url,
        dead_schedules_arn=queue_arn(DEAD_SCHEDULES),
        schedule_group=SCHEDULE_GROUP,
    )


def push_endpoint(aws_url: str, token: str) -> str:
    """Return the ARN of the SNS platform endpoint of the device with *token*; create it if needed."""
    sns = client("sns", aws_url)
    application = sns.create_platform_application(
        Name=PUSH_APPLICATION, Platform="GCM", Attributes={"PlatformCredential": SECRET_KEY}
    )["PlatformApplicationArn"]
    made: str = sns.create_platform_endpoint(PlatformApplicationArn=application, Token=token)["EndpointArn"]
    return made


def client(service: str, aws_url: str, *, read_timeout_s: float = 30) -> Any:
    """Return a boto3-style client for the stand-in that ignores the user's AWS profile and proxy."""
    nowhere = (None, None, os.devnull, None)
    session = botocore.session.Session(
        session_vars={
            "profile": (None, None, None, None),
            "config_file": nowhere,
            "credentials_file": nowhere,
        }
    )
    return session.create_client(
        service,
        region_name=REGION,
        endpoint_url=aws_url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(
            proxies={},
            connect_timeout=2,
            read_timeout=read_timeout_s,
            retries={"total_max_attempts": 1},
            max_pool_connections=16,
        ),
    )


def outbox(aws_url: str) -> list[Mail]:
    """Return the e-mails that SES accepted, oldest first, as dicts.

    Keys: ``to`` (a list), from, subject, text, html, headers, at, id, activation; see `Accepted`. Only raw
    e-mails have headers.
    """
    return [mail(each) for each in accepted.fetch(aws_url) if each.channel == "email"]


def mail(message: accepted.Accepted) -> Mail:
    """Return an accepted e-mail in the shape of `outbox`."""
    return {
        "to": message.to,
        "from": message.sender,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "headers": message.headers,
        "at": message.at,
        "id": message.id,
        "activation": message.activation,
    }


def queue_arn(name: str) -> str:
    """Return the ARN of a queue of the stand-in."""
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def main() -> None:
    """Serve until the process is stopped."""
    # This import takes a second, so only the subprocess does it.
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    from opportune.local.recorder import Recorder  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    functions_clock, speed = clock.now_ms, 1.0
    if len(sys.argv) > 1:
        functions_clock, speed = clock.parse_clock(sys.argv[1]), float(sys.argv[1].partition(",")[2])
    app = Recorder(DomainDispatcherApplication(create_backend_app), functions_clock, speed=speed)
    server = make_server(HOST, 0, app, threaded=True, request_handler=MotoRequestHandler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
