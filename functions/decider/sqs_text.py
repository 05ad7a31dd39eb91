"""The text of a message to SQS."""


def sqs_text(json: bytes) -> str:
    """Return *json* as text that SQS accepts: it rejects U+FFFE and U+FFFF, which JSON can escape."""
    return json.decode().replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")
