"""The outbox: the accepted messages of each channel, as commands and pages show them."""

import json
import os
import time
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from botocore.exceptions import ClientError

from opportune.local import accepted, outbox_page
from opportune.local import aws as local_aws
from opportune.local.accepted import Accepted
from opportune.local.outbox_page import framed, readable
from opportune.local.webhook_sink import MAX_KEPT, WebhookSink
from opportune.system.subprocesses import Subprocesses
from shared import clock
from tests.conftest import Aws

SPEED = 600.0
RAW = (
    b"From: =?utf-8?q?Caf=C3=A9?= <shop@example.com>\r\nTo: ann@site.test\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nList-Unsubscribe: <https://example.com/u>\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nHello \xc3\xa4\r\n"
    b"--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello</p>\r\n--b--\r\n"
)


def send_raw(aws: Aws, sender: str = "shop@example.com", **options: Any) -> str:
    """Send the raw e-mail and return its message id."""
    answer = aws.client("sesv2").send_email(
        FromEmailAddress=sender,
        Content={"Raw": {"Data": RAW}},
        **{"Destination": {"ToAddresses": ["ann@site.test"]}, **options},
    )
    return str(answer["MessageId"])


def test_mails_are_read_back(aws: Aws) -> None:
    """E-mails are in order and decoded, with parts, headers, time, id and activation; raw and simple ones."""
    local_aws.create_resources(aws.url, ["example.com"])
    before = clock.now_ms()
    simple = {"Subject": {"Data": "s"}, "Body": {"Html": {"Data": "<p>h</p>"}, "Text": {"Data": "t"}}}
    aws.client("sesv2").send_email(
        FromEmailAddress="shop@example.com",
        Destination={"ToAddresses": ["bob@site.test"]},
        Content={"Simple": simple},
    )
    message_id = send_raw(aws, EmailTags=[{"Name": "activation_id", "Value": "a1"}])
    first, mail = local_aws.outbox(aws.url)
    assert (first["to"], first["subject"], first["text"], first["html"]) == (["bob@site.test"], "s", "t", "<p>h</p>")
    assert first["activation"] == ""
    assert mail["to"] == ["ann@site.test"]
    assert mail["from"] == "Café <shop@example.com>"
    assert mail["subject"] == "Grüße"
    assert (mail["text"].strip(), mail["html"].strip()) == ("Hello ä", "<p>Hello</p>")
    assert mail["headers"]["List-Unsubscribe"] == "<https://example.com/u>"
    assert (mail["id"], mail["activation"]) == (message_id, "a1")
    assert before <= first["at"] <= mail["at"] <= clock.now_ms()


def test_rejected_mails_are_not_in_the_outbox(aws: Aws) -> None:
    """An e-mail to too many recipients gets an error, and the outbox does not have it."""
    local_aws.create_resources(aws.url, ["example.com"])
    with pytest.raises(ClientError):
        send_raw(aws, Destination={"ToAddresses": [f"u{n}@site.test" for n in range(51)]})
    assert accepted.fetch(aws.url) == []


@pytest.mark.parametrize(
    "sender", ["hello@my-own-shop.test", "Shop <hello@xn--strae-oqa.example>", "hello+x@sub.shop.test"]
)
def test_every_sender_is_verified(aws: Aws, sender: str) -> None:
    """An operator's own address needs no settings."""
    local_aws.create_resources(aws.url)
    for _ in range(2):
        send_raw(aws, sender)
    assert len(accepted.fetch(aws.url)) == 2


def test_the_senders_of_two_mails_are_both_verified(aws: Aws) -> None:
    """As the Engager sends: the sender is in the raw e-mail only, and one reset forgets them all."""
    local_aws.create_resources(aws.url)
    ses = aws.client("sesv2")
    for _ in range(2):
        ses.send_email(Destination={"ToAddresses": ["ann@site.test"]}, Content={"Raw": {"Data": RAW}})
        urlopen(Request(f"{aws.url}/moto-api/reset", method="POST")).close()


def test_texts_are_read_back(aws: Aws) -> None:
    """A text message has its number, text and attributes."""
    attributes = {"AWS.SNS.SMS.SenderID": {"DataType": "String", "StringValue": "SHOP"}}
    answer = aws.client("sns").publish(PhoneNumber="+14155550100", Message="a & b = ä", MessageAttributes=attributes)
    (text,) = accepted.fetch(aws.url)
    assert (text.channel, text.to, text.text, text.sender) == ("sms", ["+14155550100"], "a & b = ä", "SHOP")
    assert text.id == answer["MessageId"]
    assert text.headers == {"AWS.SNS.SMS.SenderID": "SHOP"}


def test_pushes_are_read_back(aws: Aws) -> None:
    """A push has its endpoint, title, text, the activation that it collapses by, and the whole payload."""
    endpoint = local_aws.push_endpoint(aws.url, "device-1")
    assert local_aws.push_endpoint(aws.url, "device-1") == endpoint
    apns = {"aps": {"alert": {"title": "Back again?", "body": "Your cart waits."}}, "activation": "a2"}
    message = json.dumps({"default": "Your cart waits.", "APNS": json.dumps(apns)})
    aws.client("sns").publish(TargetArn=endpoint, Message=message, MessageStructure="json")
    aws.client("sns").publish(TargetArn=endpoint, Message="plain")
    push, plain = accepted.fetch(aws.url)
    assert (push.channel, push.to, push.subject, push.text) == ("push", [endpoint], "Back again?", "Your cart waits.")
    assert (push.activation, push.payload) == ("a2", message)
    assert (plain.text, plain.payload) == ("plain", "")


def test_topics_and_reset(aws: Aws) -> None:
    """A message to a topic is not in the outbox. A reset of the stand-in empties the outbox."""
    topic = aws.client("sns").create_topic(Name="alarms")["TopicArn"]
    aws.client("sns").publish(TopicArn=topic, Message="alarm")
    assert accepted.fetch(aws.url) == []
    aws.client("sns").publish(PhoneNumber="+14155550100", Message="hello")
    assert len(accepted.fetch(aws.url)) == 1
    aws.reset()
    assert accepted.fetch(aws.url) == []


@pytest.fixture(name="fast_aws", scope="module")
def _fast_aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    folder = tmp_path_factory.mktemp("fast")
    with Subprocesses(folder / "run", folder / "logs", os.environ) as subprocesses:
        yield Aws(local_aws.start(subprocesses, f"{clock.now_ms()},{SPEED:g}"))


def test_delays_are_shorter_for_a_fast_clock(fast_aws: Aws) -> None:
    """Two messages delayed by ten minutes arrive after a second. The time of a text message is fast too."""
    made = local_aws.create_resources(fast_aws.url)
    sqs, begun = fast_aws.client("sqs"), time.monotonic()
    sqs.send_message(QueueUrl=made.doorbells_url, MessageBody="one", DelaySeconds=600)
    entry = {"Id": "2", "MessageBody": "two", "DelaySeconds": 600}
    sqs.send_message_batch(QueueUrl=made.doorbells_url, Entries=[entry])
    assert not sqs.receive_message(QueueUrl=made.doorbells_url).get("Messages")
    bodies: set[str] = set()
    while len(bodies) < 2:
        found = sqs.receive_message(QueueUrl=made.doorbells_url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
        bodies |= {message["Body"] for message in found["Messages"]}
    assert bodies == {"one", "two"}
    assert 0.9 <= time.monotonic() - begun < 20
    fast_aws.client("sns").publish(PhoneNumber="+14155550100", Message="hello")
    (text,) = accepted.fetch(fast_aws.url)
    assert text.at - clock.now_ms() >= 0.9 * (SPEED - 1) * 1000


@pytest.fixture(name="sink")
def _sink() -> Iterator[WebhookSink]:
    sink = WebhookSink(lambda: 1000)
    sink.start()
    yield sink
    sink.stop()


def post(url: str, body: bytes, headers: dict[str, str]) -> int:
    """Post *body* and return the status."""
    with urlopen(Request(url, body, headers, method="POST"), timeout=10) as answer:
        return int(answer.status)


def test_webhooks_are_kept(sink: WebhookSink) -> None:
    """A webhook is kept with its real URL, body, headers and activation, even if it is not JSON."""
    headers = {"Opportune-Url": "https://crm.example/hook", "Idempotency-Key": "a3", "Opportune-Signature": "t=1,v1=ff"}
    assert post(sink.url, b'{"user": "ann"}', headers) == 204
    assert post(sink.url + "/path", b"\xff", {}) == 204
    webhook, odd = sink.accepted()
    assert (webhook.channel, webhook.at, webhook.to) == ("webhook", 1000, ["https://crm.example/hook"])
    assert (webhook.text, webhook.activation) == ('{"user": "ann"}', "a3")
    assert webhook.headers["opportune-signature"] == "t=1,v1=ff"
    assert odd.to == [f"{sink.url}/path"]


def test_only_the_last_webhooks_are_kept(sink: WebhookSink) -> None:
    """The last 200 are kept. A GET is rejected and not kept."""
    for number in range(MAX_KEPT + 3):
        post(sink.url, str(number).encode(), {})
    with pytest.raises(HTTPError, match="405"):
        urlopen(sink.url, timeout=10)
    assert [webhook.text for webhook in sink.accepted()] == [str(number) for number in range(3, MAX_KEPT + 3)]


def test_the_page_escapes_what_it_shows() -> None:
    """Nothing in a message becomes markup of the page, and an e-mail stays in its frame."""
    hostile = '"><script>alert(1)</script>'
    messages = [
        Accepted(1, channel, [hostile], hostile, hostile, hostile, hostile, hostile, hostile, {hostile: hostile})
        for channel in ("email", "sms", "push", "webhook")
    ]
    page = outbox_page.render(messages, nonce="n")
    assert page.count("<script") == 1
    assert "<script>alert" not in page
    assert page.count("<iframe sandbox=") == 4


def test_the_page_shows_the_newest_first_and_not_all() -> None:
    """The page shows the newest 200, and the count says so."""
    page = outbox_page.render([Accepted(n, "sms", [f"+{n}"], text=f"text {n}") for n in range(1, 206)], nonce="n")
    assert page.count("<article") == 200
    assert "205 messages, the newest 200 shown" in page
    assert page.index("text 205<") < page.index("text 204<")
    assert "text 5<" not in page


def test_a_doctype_stays_in_front() -> None:
    """Without a doctype in front, a browser would show the e-mail in quirks mode."""
    assert framed("<!DOCTYPE html><p>x") == '<!DOCTYPE html><base target="_blank"><p>x'
    assert framed("<p>x") == '<base target="_blank"><p>x'


def test_json_is_made_readable() -> None:
    """JSON is indented; other text stays."""
    assert readable('{"a":[1]}') == '{\n  "a": [\n    1\n  ]\n}'
    assert readable("{") == "{"
