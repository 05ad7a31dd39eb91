"""Read what a user's row stores."""

BLOCK = 8 * 7 + 4  # bytes: ids, and when the block was filled


def ids_of(blocks: bytes | str) -> set[bytes]:
    """Return the message ids in a field of a row: the first bytes of their digests."""
    assert isinstance(blocks, bytes)
    parts = [blocks[at : at + BLOCK][: 8 * 7] for at in range(0, len(blocks), BLOCK)]
    return {part[at : at + 7] for part in parts for at in range(0, len(part), 7)}
