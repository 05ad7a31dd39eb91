"""The channel email: MIME messages, sent through SES."""

from collections.abc import Mapping
from typing import Any

from engager.channels.channel import ClientFactory, OutboundChannel, ProviderCall, composing
from engager.channels.mime import compose
from engager.channels.ses import SesMailer
from engager.channels.unsubscribe import unsubscribe_url
from engager.ledger.states import RenderedContent
from engager.rulesets import DeliveryContext
from shared.contracts import Activation
from shared.settings import Settings


def channel(settings: Settings, client: ClientFactory) -> OutboundChannel:
    """Return the channel, with the unsubscribe links and the configuration set of *settings*."""

    def prepare(
        activation: Activation, context: DeliveryContext, customer: Mapping[str, Any], content: RenderedContent
    ) -> ProviderCall:
        url = unsubscribe_url(settings, activation.site, activation.user, activation.channel)
        with composing():
            mail = compose(activation, context.sender, customer.get("email"), content, url)
        send = SesMailer(client("sesv2"), settings.ses_configuration_set)
        return lambda: send(mail)

    return OutboundChannel(prepare)
