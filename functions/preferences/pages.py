"""The pages that customers see: one small response each, without scripts, cookies or personal data."""

import html
from typing import NamedTuple

CHANNELS = {"email": "e-mails", "sms": "text messages", "push": "notifications"}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --ground: #f4f5f7; --card: #fff; --ink: #16181d; --soft: #5b6270; --line: #e3e6eb; --go: #16181d; --on: #fff }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ground: #0f1115; --card: #181b21; --ink: #f2f4f7; --soft: #a3abb9; --line: #2a2f38; --go: #f2f4f7;
    --on: #16181d }}
}}
* {{ box-sizing: border-box }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 24px; background: var(--ground);
  color: var(--ink); font: 17px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }}
main {{ width: 100%; max-width: 26rem; padding: 40px 32px; background: var(--card); border: 1px solid var(--line);
  border-radius: 16px; text-align: center }}
h1 {{ margin: 0 0 8px; font-size: 1.5rem; line-height: 1.25; letter-spacing: -.01em }}
p {{ margin: 0; color: var(--soft) }}
form {{ margin: 28px 0 0 }}
button {{ width: 100%; min-height: 48px; padding: 12px 20px; border: 0; border-radius: 10px; background: var(--go);
  color: var(--on); font: inherit; font-weight: 600; cursor: pointer }}
button:focus-visible {{ outline: 3px solid #4c8dff; outline-offset: 3px }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>{form}
</main>
</body>
</html>
"""
_FORM = '\n<form method="post"><button type="submit">Unsubscribe</button></form>'


class Page(NamedTuple):
    """An HTTP status and HTML."""

    status: int
    html: str


def ask(channel: str, site: str) -> Page:
    """Return the page that asks whether to unsubscribe from *channel* of *site* (a name, or empty)."""
    return Page(200, _PAGE.format(title="Do you want to unsubscribe?", text=_describe_end(channel, site), form=_FORM))


def done(channel: str, site: str) -> Page:
    """Return the page that confirms the unsubscription."""
    return Page(200, _PAGE.format(title="You are unsubscribed", text=_describe_end(channel, site), form=""))


def not_found() -> Page:
    """Return the page for every invalid address. It does not reveal the reason."""
    text = "It may be incomplete. Please open it again from the message."
    return Page(404, _PAGE.format(title="This link does not work", text=text, form=""))


def not_allowed() -> Page:
    """Return the page for a method other than GET, HEAD and POST."""
    return Page(405, _PAGE.format(title="This does not work", text="Please open the link in a browser.", form=""))


def unavailable(channel: str) -> Page:
    """Return the page for a temporary failure. Its button retries."""
    text = f"Something went wrong, and you may still get {_name_messages(channel)}. Please try again in a moment."
    return Page(503, _PAGE.format(title="That did not work yet", text=text, form=_FORM))


def _describe_end(channel: str, site: str) -> str:
    return f"You will get no more {_name_messages(channel)} from {html.escape(site) or 'us'}."


def _name_messages(channel: str) -> str:
    return CHANNELS.get(channel, "messages")
