"""The channels' calls to AWS: against moto, and against an endpoint that fails in every known way."""

import http.server
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_string
from email.policy import default
from typing import Any

import pytest

from engager.channels import provider
from engager.channels.outbound import outbound_channels
from engager.channels.unsubscribe import unsubscribe_url
from engager.ledger.states import DeliveryResult, State, Undeliverable
from engager.rulesets import DeliveryContext
from shared.contracts import Activation
from shared.errors import InvalidSettings
from shared.ruleset import Campaign, Sender, Trigger
from shared.settings import ENGAGER, Settings
from shared.signing import Subscription, read_token
from tests.conftest import Aws

SECRET = "a secret of thirty-two letters.."
SETTINGS = Settings(
    ENGAGER,
    signing_secret=SECRET,
    preferences_url="https://preferences.shop.example/",
    ses_configuration_set="opportune",
)
ID = "0123456789abcdef0123456789abcdef"
NUMBER = "+436601234567"
OPTED_OUT = "+436601234599"  # moto treats every number that ends in 99 as opted out
KEYS: dict[str, Any] = {"region_name": "eu-central-1", "aws_access_key_id": "test", "aws_secret_access_key": "test"}


def delivery_context() -> DeliveryContext:
    """Return the context of an activation."""
    trigger = Trigger(key="k", program={}, matchers=[], horizon=0)
    campaign = Campaign("cart", "1", "Cart", trigger, "email", {})
    return DeliveryContext(
        campaign, campaign, Sender("hello@shop.example", "Shop"), webhook_hosts=["hooks.partner.example"]
    )


def sending(
    channel: str,
    customer: dict[str, Any],
    content: dict[str, Any],
    client: Callable[[str], Any],
    settings: Settings = SETTINGS,
) -> DeliveryResult:
    """Prepare an activation of *channel* and send it."""
    activation = Activation(ID, "shop", "ada", "cart", 1, channel, 0, "Order", "m1")
    prepare = outbound_channels(settings, client=client)[channel].prepare
    return prepare(activation, delivery_context(), customer, content)()


def stored(aws: Aws, service: str) -> Any:
    """Return what moto has accepted."""
    with urllib.request.urlopen(f"{aws.url}/moto-api/data.json") as data:
        return json.load(data)[service]


def test_ses_accepts_an_email_with_an_unsubscribe_link(aws: Aws) -> None:
    """The raw message has the one-click headers, and the link is this customer's."""
    aws.client("sesv2").create_email_identity(EmailIdentity="shop.example")
    sent = sending("email", {"email": "ada@example.com"}, {"subject": "S", "html": "<p>Hi</p>"}, aws.client)
    assert sent.state is State.SENT
    raw = next(mail for mail in stored(aws, "ses")["RawMessage"] if mail["id"] == sent.provider_id)
    message = message_from_string(raw["raw_data"], policy=default)
    url = message["List-Unsubscribe"].strip("<>")
    assert url == unsubscribe_url(SETTINGS, "shop", "ada", "email")
    assert url.startswith("https://preferences.shop.example/unsubscribe/")
    assert read_token(SECRET, url.rpartition("/")[2]) == Subscription("shop", "ada", "email")
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_sns_accepts_a_text_message(aws: Aws) -> None:
    """Number and text arrive."""
    sent = sending("sms", {"phone": NUMBER}, {"text": "Hi", "sender_id": "MyShop"}, aws.client)
    assert sent.state is State.SENT
    assert sent.provider_id
    (sms,) = stored(aws, "sns")["SMS"]
    assert (sms["phone_number"], sms["message"]) == (NUMBER, "Hi")


def test_sns_knows_opted_out_numbers(aws: Aws) -> None:
    """A number that has replied STOP gets nothing."""
    result = sending("sms", {"phone": OPTED_OUT}, {"text": "Hi"}, aws.client)
    assert result == DeliveryResult(State.SUPPRESSED, "opt_out")
    assert stored(aws, "sns").get("SMS", []) == []


@pytest.fixture(name="endpoint")
def _endpoint(aws: Aws) -> str:
    sns = aws.client("sns")
    app = sns.create_platform_application(Name="app", Platform="GCM", Attributes={})["PlatformApplicationArn"]
    arn: str = sns.create_platform_endpoint(PlatformApplicationArn=app, Token="t")["EndpointArn"]
    return arn


def test_sns_accepts_a_notification(aws: Aws, endpoint: str) -> None:
    """The endpoint gets the message, with JSON per platform."""
    sent = sending("push", {"push_endpoint": endpoint}, {"title": "Hi"}, aws.client)
    assert sent.state is State.SENT
    (found,) = [each for each in stored(aws, "sns")["PlatformEndpoint"] if each["arn"] == endpoint]
    assert ID in str(found["messages"])


def test_a_disabled_endpoint_is_final(aws: Aws, endpoint: str) -> None:
    """A device that is gone gets no retry."""
    aws.client("sns").set_endpoint_attributes(EndpointArn=endpoint, Attributes={"Enabled": "false"})
    result = sending("push", {"push_endpoint": endpoint}, {"title": "Hi"}, aws.client)
    assert result == DeliveryResult(State.FAILED_FINAL, "EndpointDisabled")


def test_preparing_sends_nothing(aws: Aws, endpoint: str) -> None:
    """No request is made before the call."""
    channels = outbound_channels(SETTINGS, client=aws.client)
    customer = {"email": "ada@example.com", "phone": NUMBER, "push_endpoint": endpoint}
    for channel, content in {"email": {"text": "x"}, "sms": {"text": "x"}, "push": {"title": "x"}}.items():
        activation = Activation(ID, "s", "u", "c", 1, channel, 0, "e", "m")
        channels[channel].prepare(activation, delivery_context(), customer, content)
    accepted = stored(aws, "sns")
    assert "RawMessage" not in stored(aws, "ses") or stored(aws, "ses")["RawMessage"] == []
    assert accepted.get("SMS", []) == []
    assert all(not each["messages"] for each in accepted["PlatformEndpoint"])


def never(service: str) -> Any:
    """Fail, because this test needs no client."""
    raise AssertionError(service)


@pytest.mark.parametrize(
    ("channel", "content", "code"),
    [
        ("email", {"text": "x"}, "no_address"),
        ("webhook", {"url": "http://hooks.partner.example/"}, "invalid_url"),
        ("webhook", {"url": "https://evil.example/"}, "forbidden_host"),
    ],
)
def test_an_undeliverable_message_needs_no_client(channel: str, content: dict[str, Any], code: str) -> None:
    """It is refused during preparation."""
    with pytest.raises(Undeliverable) as refused:
        sending(channel, {}, content, never)
    assert refused.value.code == code


def test_a_short_secret_stops_the_start() -> None:
    """Unsubscribe links must not be forgeable."""
    with pytest.raises(InvalidSettings):
        outbound_channels(Settings(ENGAGER, signing_secret="short"))


# An endpoint that fails


@dataclass
class Failing:
    """An AWS endpoint that responds with ``status`` and ``code`` (with nothing for 0), and keeps the requests."""

    status: int = 200
    code: str = ""
    url: str = ""
    requests: list[tuple[str, bytes]] = field(default_factory=list)

    def client(self, service: str) -> Any:
        """Return the Engager's own client, with this endpoint."""
        return provider.aws_client(service, read_timeout_s=10, endpoint_url=self.url, **KEYS)

    def respond(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Respond to one request."""
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        self.requests.append((handler.path, body))
        if b"CheckIfPhoneNumberIsOptedOut" in body:
            result = b"<R><CheckIfPhoneNumberIsOptedOutResult><isOptedOut>false</isOptedOut>"
            self._reply(handler, 200, result + b"</CheckIfPhoneNumberIsOptedOutResult></R>")
        elif not self.status:
            handler.close_connection = True
        elif handler.path == "/":
            error = f"<ErrorResponse><Error><Code>{self.code}</Code></Error></ErrorResponse>"
            self._reply(handler, self.status, error.encode())
        else:
            self._reply(handler, self.status, json.dumps({"message": self.code}).encode())

    def _reply(self, handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("x-amzn-ErrorType", self.code)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)


@pytest.fixture(name="failing")
def _failing() -> Iterator[Failing]:
    fake = Failing()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fake.respond(self)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the base class
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield fake
    server.shutdown()
    server.server_close()
    thread.join()


CUSTOMER = {
    "email": "ada@example.com",
    "phone": NUMBER,
    "push_endpoint": "arn:aws:sns:eu-central-1:123456789012:endpoint/GCM/app/1f",
}
CONTENT = {"title": "Hi", "subject": "Hi", "text": "Hi"}


@pytest.mark.parametrize("channel", ["email", "sms", "push"])
@pytest.mark.parametrize(
    ("status", "code", "state"),
    [
        (0, "", None),
        (500, "InternalError", None),
        (503, "ServiceUnavailable", None),
        (400, "Throttling", State.FAILED_RETRYABLE),
        (429, "TooManyRequestsException", State.FAILED_RETRYABLE),
        (400, "InvalidParameter", State.FAILED_FINAL),
        (403, "AuthorizationError", State.FAILED_RETRYABLE),
        (403, "ExpiredTokenException", State.FAILED_RETRYABLE),
        (400, "SendingPausedException", State.FAILED_RETRYABLE),
    ],
)
def test_every_failure_is_one_request_and_one_result(
    failing: Failing, channel: str, status: int, code: str, state: State | None
) -> None:
    """The real client never retries. An ambiguous call is unknown; a push may be retried.

    Refusals of the account, not of the message, are retried until they reach the dead-letter queue.
    """
    failing.status, failing.code = status, code
    result = sending(channel, CUSTOMER, CONTENT, failing.client)
    ambiguous = State.FAILED_RETRYABLE if channel == "push" else State.UNKNOWN
    assert result.state is (state or ambiguous)
    assert result.reason
    assert len([body for _, body in failing.requests if b"CheckIfPhone" not in body]) == 1


def test_ses_gets_tags_and_configuration_set(failing: Failing) -> None:
    """SES returns activation, campaign and site with every event."""
    failing.status, failing.code = 400, "MessageRejected"
    assert sending("email", CUSTOMER, CONTENT, failing.client) == DeliveryResult(State.FAILED_FINAL, "MessageRejected")
    request = json.loads(failing.requests[0][1])
    assert request["ConfigurationSetName"] == "opportune"
    assert {tag["Name"]: tag["Value"] for tag in request["EmailTags"]} == {
        "activation_id": ID,
        "campaign": "cart",
        "site": "shop",
    }
    assert request["Destination"] == {"ToAddresses": ["ada@example.com"]}
