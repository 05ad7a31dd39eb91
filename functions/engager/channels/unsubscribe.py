"""Links to the page where customers unsubscribe."""

from shared.settings import Settings
from shared.signing import unsubscribe_token


def unsubscribe_url(settings: Settings, site: str, user: str, channel: str) -> str:
    """Return the URL where *user* unsubscribes from the messages of *channel* from *site*.

    Content reads it as ``site.unsubscribe_url``. An e-mail that does not use it gets a line with it at the end.
    """
    token = unsubscribe_token(settings.signing_secret, site, user, channel)
    return f"{settings.preferences_url.rstrip('/')}/unsubscribe/{token}"
