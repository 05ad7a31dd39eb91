"""SQS and SES on the laptop: moto's server as a child process, and the resources in it.

``python -m opportune.local.aws`` serves on a port of the system's choice and prints it.
"""

import http.client
import json
import logging
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config

from opportune.local.children import Children
from opportune.local.errors import LocalStackError
from opportune.local.ports import HOST

REGION = "eu-central-1"
ACCOUNT = "123456789012"
ACCESS_KEY = SECRET_KEY = "local"
DELIVERIES, DEAD_LETTERS = "deliveries", "deliveries-dead"
MAX_RECEIVE_COUNT = 5
VISIBILITY_TIMEOUT_S = 30

Mail = dict[str, Any]


@dataclass(frozen=True)
class Resources:
    """What `create_resources` made."""

    queue_url: str
    queue_arn: str
    dead_letter_url: str


def start(children: Children) -> str:
    """Start the AWS stand-in and return its URL."""
    child = children.start("aws", [sys.executable, "-m", "opportune.local.aws"], piped=True)
    # Ends with the port, or with the end of the process: never hangs.
    line = child.stdout.readline()
    if not line.strip().isdigit():
        child.kill()
        raise child.failure("ended while starting")
    return f"http://{HOST}:{int(line)}"


def create_resources(aws_url: str, identities: Iterable[str] = ()) -> Resources:
    """Create the queue of deliveries, its dead-letter queue, and the SES *identities*."""
    sqs = client("sqs", aws_url)
    dead_letter_url = sqs.create_queue(QueueName=DEAD_LETTERS)["QueueUrl"]
    redrive = {"deadLetterTargetArn": _arn(DEAD_LETTERS), "maxReceiveCount": MAX_RECEIVE_COUNT}
    queue_url = sqs.create_queue(
        QueueName=DELIVERIES,
        Attributes={"VisibilityTimeout": str(VISIBILITY_TIMEOUT_S), "RedrivePolicy": json.dumps(redrive)},
    )["QueueUrl"]
    ses = client("sesv2", aws_url)
    for identity in identities:
        ses.create_email_identity(EmailIdentity=identity)
    return Resources(queue_url=queue_url, queue_arn=_arn(DELIVERIES), dead_letter_url=dead_letter_url)


def client(service: str, aws_url: str, *, read_timeout_s: float = 30) -> Any:
    """Return a boto3-style client for the stand-in that ignores the caller's AWS profile and proxy."""
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
    """Return the mails that SES accepted: ``to`` (list), from, subject, text, html, headers; oldest first.

    Mails sent raw come first, then those sent in parts, which have no headers and no text part.
    """
    ses = _moto_data(aws_url).get("ses", {})
    mails = [_parsed(message) for message in ses.get("RawMessage", ())]
    mails += [
        {
            "to": list(message["destinations"].get("ToAddresses") or ()),
            "from": message["source"],
            "subject": message["subject"],
            "text": "",
            "html": message["body"],
            "headers": {},
        }
        for message in ses.get("Message", ())
    ]
    return mails


def _parsed(message: Mapping[str, Any]) -> Mail:
    parsed: EmailMessage = message_from_bytes(message["raw_data"].encode(), policy=policy.default)
    return {
        # The stand-in repeats the destinations of raw mails.
        "to": list(dict.fromkeys(message["destinations"])),
        "from": str(parsed["From"] or message["source"]),
        "subject": str(parsed["Subject"] or ""),
        "text": _part(parsed, "plain"),
        "html": _part(parsed, "html"),
        "headers": {name: str(value) for name, value in parsed.items()},
    }


def _part(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else ""


def _moto_data(aws_url: str) -> dict[str, Any]:
    address = urlsplit(aws_url)
    connection = http.client.HTTPConnection(address.hostname or HOST, address.port, timeout=10)
    try:
        connection.request("GET", "/moto-api/data.json")
        data: dict[str, Any] = json.loads(connection.getresponse().read())
        return data
    except (OSError, http.client.HTTPException) as error:
        raise LocalStackError(f"the AWS stand-in at {aws_url} does not answer: {error}") from error
    finally:
        connection.close()


def _arn(queue: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{queue}"


def main() -> None:
    """Serve until the process is stopped."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - a second of import, in the child only

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
