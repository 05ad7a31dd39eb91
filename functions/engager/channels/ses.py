"""Amazon SES, which sends e-mails."""

from typing import Any

from engager.channels.mime import Mail
from engager.channels.provider import attempt
from engager.ledger.states import DeliveryResult


class SesMailer:
    """Sends an e-mail through SES v2. *configuration_set* may be empty.

    SES cannot recognise a retry. So an ambiguous call ends as `unknown`, and is not made again.
    """

    def __init__(self, client: Any, configuration_set: str) -> None:
        self._client = client
        self._options = {"ConfigurationSetName": configuration_set} if configuration_set else {}

    def __call__(self, mail: Mail) -> DeliveryResult:
        """Send *mail* once and return the result."""
        return attempt(
            lambda: self._client.send_email(
                Destination={"ToAddresses": [mail.to]},
                Content={"Raw": {"Data": mail.mime}},
                EmailTags=[{"Name": name, "Value": value} for name, value in mail.tags.items()],
                **self._options,
            )
        )
