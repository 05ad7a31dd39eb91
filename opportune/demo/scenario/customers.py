"""The people of the story."""

import zlib
from typing import Any


def customers(run: str) -> list[dict[str, Any]]:
    """Return the customers that the story needs, in the shape of an import."""
    vips = ["anna", "carol", "dave", "erin", "frank", "grace", "leo"]
    others = ["bob", "heidi", "ivan", "mona"]
    return [
        {
            "user_id": f"{name}-{run}",
            "first_name": name.title(),
            "tier": "vip" if name in vips else "basic",
            "email": f"{name}-{run}@player.example",
            "phone": _phone(run, number),
        }
        for number, name in enumerate(vips + others)
    ]


def _phone(run: str, number: int) -> str:
    """Return a number of the range that is kept for stories, another one for each run."""
    digits = zlib.crc32(run.encode()) % 800_000
    return f"+1202555{digits:06}{number:02}"
