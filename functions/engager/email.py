"""An e-mail as bytes: headers that cannot be broken out of, and always a text part."""

import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any, NamedTuple

from engager.outcome import Content, Undeliverable
from engager.plaintext import plaintext
from shared.ruleset import Sender

# 7bit: no relay on the way has a reason to re-encode, and with it break a DKIM signature.
POLICY = SMTP.clone(cte_type="7bit")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
LOCAL_PART = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}")
DOMAIN = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


class Mail(NamedTuple):
    """One e-mail to one address, tagged with the activation that it executes."""

    activation: str
    to: str
    mime: bytes


def compose(activation: str, sender: Sender | None, to: Any, content: Content) -> Mail:
    """Return the e-mail with *content*: ``subject``, ``html`` and/or ``text``, already rendered.

    Raises `Undeliverable`: no_sender, no_address, invalid_address, invalid_sender, template_error.
    """
    if sender is None:
        raise Undeliverable("the site has no sender", code="no_sender")
    if to is None or to == "":
        raise Undeliverable("the customer has no e-mail address", code="no_address")
    recipient = address(to, code="invalid_address")
    message = EmailMessage(policy=POLICY)
    message["From"] = address(sender.address, name=one_line(sender.name), code="invalid_sender")
    message["To"] = recipient
    message["Subject"] = one_line(content.get("subject") or "")
    html = content.get("html")
    try:
        message.set_content(content.get("text") or plaintext(html or ""), cte="quoted-printable")
        if html:
            message.add_alternative(html, subtype="html", cte="quoted-printable")
        mime = message.as_bytes()
    except UnicodeEncodeError as error:
        raise Undeliverable("the content is not valid Unicode", code="template_error") from error
    return Mail(activation, recipient.addr_spec, mime)


def one_line(text: str) -> str:
    """Return *text* fit for a header: every run of control characters and line breaks is one space."""
    return CONTROL.sub(" ", text).strip()


def address(text: Any, *, name: str = "", code: str) -> Address:
    """Return *text* as exactly one address; raise `Undeliverable` with *code* where it is not."""
    local, _, domain = text.strip().rpartition("@") if isinstance(text, str) else ("", "", "")
    try:
        host = domain.encode("idna").decode() if domain else ""
    except UnicodeError:
        host = ""
    if not LOCAL_PART.fullmatch(local) or not DOMAIN.fullmatch(host):
        raise Undeliverable("this is not one e-mail address", code=code)
    return Address(display_name=name, username=local, domain=host)
