"""The channels of messages: their names, and the attribute of the customer that each one sends to."""

from collections.abc import Mapping
from typing import Literal, get_args

Outbound = Literal["email", "sms", "push", "webhook"]
Channel = Literal["popup", Outbound]

POPUP: Channel = "popup"
CHANNELS: tuple[Channel, ...] = get_args(Channel)
# The channels that a customer can opt out of.
OUTBOUND: tuple[Outbound, ...] = get_args(Outbound)
# The channels that need an address. Popups are on a page, and webhooks go to a host of the site.
ADDRESSES: Mapping[str, str] = {"email": "email", "sms": "phone", "push": "push_endpoint"}
# The channels that reach customers anywhere, at any hour.
QUIET: tuple[Outbound, ...] = ("email", "sms", "push")
