"""The rule for text from outside: it can be encoded as UTF-8, and it has no U+0000."""


def is_storable(text: str) -> bool:
    """Return whether *text* can be stored: it has no U+0000 and no half of a surrogate pair.

    JSON can write half a pair as an escape, and some parsers accept it. No store and no encoder does.
    """
    return "\0" not in text and is_encodable(text)


def is_encodable(text: str) -> bool:
    """Return whether *text* has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
