"""The channels that lead out of the house: each prepares one call to its provider, and makes it once.

prepare ── all that can fail by itself: address, text, size, link, the provider's client ──▶ Undeliverable
    └──▶ the ledger's claim ──▶ the call that was prepared: one request ──▶ Outcome
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from engager.channels import email, webhook
from engager.channels.webhook import WebhookSender
from engager.channels.webhook_wire import Post, https_post, sink_post
from engager.ledger.states import Content, Outcome
from engager.rulesets import Brief
from shared.contracts import Activation
from shared.settings import Settings
from shared.signing import check_secret, unsubscribe_token, webhook_key

Send = Callable[[], Outcome]
# Activation, what it is executed with, the customer's attributes, the rendered content → the provider's call, which
# never raises and never repeats. Raises `Undeliverable` for everything that is known to fail before it.
Prepare = Callable[[Activation, Brief, Mapping[str, Any], Content], Send]
Client = Callable[[str], Any]


def outward(settings: Settings, *, client: Client | None = None, post: Post | None = None) -> Mapping[str, Prepare]:
    """Return email, sms, push and webhook by name; raises `InvalidSettings` for a short signing secret.

    *client* makes the AWS client of a service, *post* is the way of webhooks; by
    default real ones, made with the first message that needs them: half a second of cold start that popups never pay.
    """
    check_secret(settings.signing_secret)
    return {
        "email": _email(settings, client or _client),
        "sms": _sms(client or _client),
        "push": _push(client or _client),
        "webhook": _webhook(settings, post),
    }


def unsubscribe_url(settings: Settings, site: str, user: str, channel: str) -> str:
    """Return the address of the page where *user* ends the messages of *channel* from *site*.

    Content gets it as ``site.unsubscribe_url``; an e-mail that does not use it has a line with it at its end.
    """
    token = unsubscribe_token(settings.signing_secret, site, user, channel)
    return f"{settings.preferences_url.rstrip('/')}/unsubscribe/{token}"


def _client(service: str) -> Any:
    from engager.channels import provider  # noqa: PLC0415 - popups never need boto3

    return provider.client(service)


def _email(settings: Settings, client: Client) -> Prepare:
    @cache
    def mailer() -> Callable[[email.Mail], Outcome]:
        from engager.channels.ses import SesMailer  # noqa: PLC0415 - brings boto3

        return SesMailer(client("sesv2"), settings.ses_configuration_set)

    def prepare(activation: Activation, brief: Brief, customer: Mapping[str, Any], content: Content) -> Send:
        url = unsubscribe_url(settings, activation.site, activation.user, activation.channel)
        mail = email.compose(activation, brief.sender, customer.get("email"), content, url)
        send = mailer()
        return lambda: send(mail)

    return prepare


def _sms(client: Client) -> Prepare:
    @cache
    def texter() -> Any:
        from engager.channels import sms  # noqa: PLC0415 - brings boto3

        return sms.compose, sms.SnsTexter(client("sns"))

    def prepare(activation: Activation, brief: Brief, customer: Mapping[str, Any], content: Content) -> Send:  # noqa: ARG001
        compose, send = texter()
        message = compose(customer.get("phone"), content)
        return lambda: send(message)

    return prepare


def _push(client: Client) -> Prepare:
    @cache
    def pusher() -> Any:
        from engager.channels import push  # noqa: PLC0415 - brings boto3

        return push.compose, push.SnsPusher(client("sns"))

    def prepare(activation: Activation, brief: Brief, customer: Mapping[str, Any], content: Content) -> Send:  # noqa: ARG001
        compose, send = pusher()
        message = compose(activation, customer.get("push_endpoint"), content)
        return lambda: send(message)

    return prepare


def _webhook(settings: Settings, post: Post | None) -> Prepare:
    @cache
    def sender() -> WebhookSender:
        sink = settings.webhook_sink
        return WebhookSender(post or (sink_post(sink) if sink else https_post()), settings.clock)

    def prepare(activation: Activation, brief: Brief, customer: Mapping[str, Any], content: Content) -> Send:  # noqa: ARG001
        key = webhook_key(settings.signing_secret, activation.site)
        message = webhook.compose(activation, brief.webhook_hosts, content, key)
        send = sender()
        return lambda: send(message)

    return prepare
