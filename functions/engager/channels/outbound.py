"""The table of outbound channels: one line per channel, each with a module of its own beside this one.

To add one, write its module with a function that returns an `OutboundChannel`, and add a line here.
"""

from collections.abc import Mapping
from functools import cache

from engager.channels import email, push, sms, webhook
from engager.channels.channel import ClientFactory, OutboundChannel
from engager.channels.provider import aws_client
from engager.channels.webhook_wire import Post
from shared.settings import Settings
from shared.signing import check_secret


def outbound_channels(
    settings: Settings, *, client: ClientFactory = aws_client, post: Post | None = None
) -> Mapping[str, OutboundChannel]:
    """Return the outbound channels by name; raises `InvalidSettings` if the signing secret is too short.

    *client* makes AWS clients; *post* sends webhooks. Both are replaced in tests. A client is made with the first
    message that needs it, because loading boto3 takes half a second, and popups must not wait for that.
    """
    check_secret(settings.signing_secret)
    client = cache(client)
    return {
        "email": email.channel(settings, client),
        "sms": sms.channel(client),
        "push": push.channel(client),
        "webhook": webhook.channel(settings, post),
    }
