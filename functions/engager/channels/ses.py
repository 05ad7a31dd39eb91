"""E-mail through Amazon SES."""

from typing import Any

from engager.channels.email import Mail
from engager.channels.provider import READ_TIMEOUT_S, attempt, client
from engager.ledger.states import Outcome


def ses_client(*, read_timeout_s: float = READ_TIMEOUT_S, **options: Any) -> Any:
    """Return an SES v2 client that calls once; *options* go to boto3."""
    return client("sesv2", read_timeout_s=read_timeout_s, **options)


class SesMailer:
    """Sends an e-mail by SES v2; *configuration_set* may be empty.

    An ambiguous call is `unknown`: SES cannot recognise a repeat, so there is none.
    """

    def __init__(self, client: Any, configuration_set: str) -> None:
        self._client = client
        self._options = {"ConfigurationSetName": configuration_set} if configuration_set else {}

    def __call__(self, mail: Mail) -> Outcome:
        """Send *mail* once and return the outcome."""
        return attempt(
            lambda: self._client.send_email(
                Destination={"ToAddresses": [mail.to]},
                Content={"Raw": {"Data": mail.mime}},
                EmailTags=[{"Name": name, "Value": value} for name, value in mail.tags.items()],
                **self._options,
            )
        )
