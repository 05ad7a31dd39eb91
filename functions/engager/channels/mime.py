"""An e-mail as bytes. Headers are injection-safe, and there is always a text part and an unsubscribe link.

The link is in the headers, which mail programs show as a button (RFC 8058), and in both parts.
"""

import html
import re
from collections.abc import Mapping
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, NamedTuple

from engager.channels.headers import header, mailbox_words, one_line, text_words
from engager.channels.plaintext import plaintext
from engager.ledger.states import RenderedContent, Undeliverable
from shared.addresses import InvalidAddress, email_address
from shared.contracts import Activation
from shared.ruleset import Sender

MAX_URL_LENGTH = 950  # a line of an e-mail has at most 998 bytes
MAX_SUBJECT_LENGTH = 10_000
URL = re.compile(r"[!-;=?-~]+")
# 7bit, so that no relay has a reason to re-encode the message, which would break its DKIM signature.
POLICY = SMTP.clone(cte_type="7bit")
ENDS = tuple(re.compile(rf"</{tag}\s*>", re.IGNORECASE) for tag in ("body", "html"))
UNTAGGABLE = re.compile(r"[^A-Za-z0-9_-]")  # what SES refuses in the value of a tag


class Mail(NamedTuple):
    """One e-mail to one address. SES returns its ``tags``, including ``activation_id``, with every event."""

    to: str
    mime: bytes
    tags: Mapping[str, str]


def compose(activation: Activation, sender: Sender | None, to: Any, content: RenderedContent, url: str) -> Mail:
    """Return the e-mail with *content*: ``subject``, and ``html``, ``text`` or both, rendered.

    *url*: to unsubscribe. A part that lacks it gets a line with it.
    Raises `Undeliverable`: no_sender, no_address, invalid_address, no_smtputf8, invalid_sender, long_url,
    invalid_url, long_subject, template_error.
    """
    if sender is None:
        raise Undeliverable("the site has no sender", code="no_sender")
    if to is None or to == "":
        raise Undeliverable("the customer has no e-mail address", code="no_address")
    if len(url) > MAX_URL_LENGTH:
        raise Undeliverable("the user id is too long for the unsubscribe link in an e-mail header", code="long_url")
    recipient = _address(to, code="invalid_address")
    headers = _headers(sender, recipient, one_line(content.get("subject") or ""), url)
    mime = headers.encode("ascii") + _body(content, url)
    tags = {"activation_id": activation.id, "campaign": activation.campaign, "site": activation.site}
    return Mail(recipient, mime, {name: UNTAGGABLE.sub("_", value)[:256] for name, value in tags.items()})


def _headers(sender: Sender, recipient: str, subject: str, url: str) -> str:
    """Return the headers with outside text. Those of the MIME parts are constant."""
    if not URL.fullmatch(url):
        raise Undeliverable("the unsubscribe link is not a URL in ASCII", code="invalid_url")
    if len(subject) > MAX_SUBJECT_LENGTH:
        raise Undeliverable(f"the subject is longer than {MAX_SUBJECT_LENGTH} characters", code="long_subject")
    from_address = _address(sender.address, code="invalid_sender")
    try:
        from_words = mailbox_words(one_line(sender.name), from_address)
    except UnicodeEncodeError as error:
        raise Undeliverable("the sender's name is not valid Unicode", code="invalid_sender") from error
    try:
        subject_words = text_words(subject)
    except UnicodeEncodeError as error:
        raise Undeliverable("the subject is not valid Unicode", code="template_error") from error
    return (
        header("From", from_words)
        + (header("Reply-To", [_address(sender.reply_to, code="invalid_sender")]) if sender.reply_to else "")
        + header("To", mailbox_words("", recipient))
        + header("Subject", subject_words)
        + header("List-Unsubscribe", [f"<{url}>"])
        + header("List-Unsubscribe-Post", ["List-Unsubscribe=One-Click"])
    )


def _body(content: RenderedContent, url: str) -> bytes:
    """Return the headers of the MIME parts, an empty line, and the parts."""
    page = _html_with_link(content.get("html") or "", url)
    text = _text_with_link(content.get("text") or plaintext(page), url)
    message = EmailMessage(policy=POLICY)
    try:
        message.set_content(text, cte="quoted-printable")
        if page:
            message.add_alternative(page, subtype="html", cte="quoted-printable")
        return message.as_bytes()
    except UnicodeEncodeError as error:
        raise Undeliverable("the content is not valid Unicode", code="template_error") from error


def _html_with_link(page: str, url: str) -> str:
    """Return *page* with a link to *url* at its end, unless it already has one or is empty."""
    if not page or url in html.unescape(page):
        return page
    link = f'<p style="font-size:12px"><a href="{html.escape(url)}">Unsubscribe</a></p>'
    end = next((found[-1].start() for tag in ENDS if (found := list(tag.finditer(page)))), len(page))
    return f"{page[:end]}{link}{page[end:]}"


def _text_with_link(text: str, url: str) -> str:
    """Return *text* with *url* on a line of its own at the end, unless it already has it."""
    return text if url in text else f"{text.rstrip()}\n\nUnsubscribe: {url}\n"


def _address(text: Any, *, code: str) -> str:
    """Return *text* as one address in ASCII; raise `Undeliverable`, with *code* if it is not exactly one."""
    try:
        return email_address(text)
    except InvalidAddress as error:
        raise Undeliverable(error.message, code=code if error.code == InvalidAddress.code else error.code) from error
