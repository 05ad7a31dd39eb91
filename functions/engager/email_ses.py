"""E-mail through Amazon SES: one call, never repeated here, and a verdict on what became of it.

SES has no idempotency token. So a refusal is a refusal, a call that never left may be made again, and of
everything else nobody can say whether the mail went out: `unknown`, which is not sent again.
https://docs.aws.amazon.com/ses/latest/dg/manage-sending-quotas-errors.html
"""

from typing import Any

import boto3
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    ParamValidationError,
)

from engager.email import Mail
from engager.outcome import Outcome, State
from shared.invoke import once

READ_TIMEOUT_S = 5.0
THROTTLES = frozenset(
    {"LimitExceededException", "LimitExceeded", "Throttling", "ThrottlingException"}
    | {"TooManyRequests", "TooManyRequestsException"}
)
NEVER_LEFT = (ConnectTimeoutError, CredentialRetrievalError, EndpointConnectionError, NoCredentialsError)


def ses_client(*, read_timeout_s: float = READ_TIMEOUT_S, **options: Any) -> Any:
    """Return an SES v2 client that calls once; *options* go to boto3."""
    # A session of its own: boto3's default one must not be shared by threads while it makes clients.
    return boto3.session.Session().client("sesv2", config=once(read_timeout_s=read_timeout_s), **options)


class SesMailer:
    """Sends an e-mail by SES v2; *configuration_set* may be empty."""

    def __init__(self, client: Any, configuration_set: str) -> None:
        self._client = client
        self._options = {"ConfigurationSetName": configuration_set} if configuration_set else {}

    def __call__(self, mail: Mail) -> Outcome:
        """Send *mail* once and return the outcome."""
        try:
            answer = self._client.send_email(
                Destination={"ToAddresses": [mail.to]},
                Content={"Raw": {"Data": mail.mime}},
                EmailTags=[{"Name": "activation_id", "Value": mail.activation}],
                **self._options,
            )
        except ClientError as error:
            return refusal(error)
        except NEVER_LEFT as error:
            return Outcome(State.FAILED_RETRYABLE, type(error).__name__)
        except ParamValidationError:
            return Outcome(State.FAILED_FINAL, "invalid_message")
        except BotoCoreError as error:
            return Outcome(State.UNKNOWN, type(error).__name__)
        return Outcome(State.SENT, provider_id=answer.get("MessageId"))


def refusal(error: ClientError) -> Outcome:
    """Return what an error answer of SES means for the mail."""
    code = error.response.get("Error", {}).get("Code") or "error"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in THROTTLES or status == 429:
        return Outcome(State.FAILED_RETRYABLE, code)
    if 400 <= status < 500:
        return Outcome(State.FAILED_FINAL, code)
    return Outcome(State.UNKNOWN, code)
