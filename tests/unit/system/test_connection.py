"""How commands connect to MongoDB."""

from opportune.system import connection
from refresher.parts import MAX_PART_MS


def test_the_timeout_covers_long_refreshes() -> None:
    """The timeout exceeds the longest part of a refresh; a function's few seconds would abort large refreshes."""
    with connection.opened("mongodb://127.0.0.1/") as database:
        seconds = database.client.options.pool_options.socket_timeout
    assert seconds is not None
    assert seconds * 1000 > MAX_PART_MS
