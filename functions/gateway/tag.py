"""The site tag's files, as they were built: packed, and found by version.

The loader is asked for again after minutes; what it loads has its version in the address and is kept for ever. A
page with yesterday's loader gets today's files: they belong together, and say nothing of versions to each other.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from gateway.request import Response
from shared.errors import NotFound

LOADER = "tag.js"
JAVASCRIPT = "text/javascript; charset=utf-8"
FOR_MINUTES = "public, max-age=300, stale-while-revalidate=86400"
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Tag:
    """The files by name, packed, and the version that the loader names."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    version: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return what a build has left in *folder*; nothing, where there was none."""
        files = {path.name.removesuffix(".gz"): path for path in sorted(folder.glob("**/*.gz"))}
        versions = {path.parent.name for name, path in files.items() if name != LOADER}
        return cls({name: path.read_bytes() for name, path in files.items()}, "".join(sorted(versions)[:1]))

    def answer(self, file: str, version: str, accepted: str) -> Response:
        """Return *file*; *accepted*: the encodings that the browser takes. Raises `NotFound`."""
        if not self.files:
            raise NotFound("the tag was not built: run `make build` and deploy again", code="tag_not_built")
        packed = self.files.get(file)
        if packed is None or (file == LOADER) != (not version):
            raise NotFound("the tag has no such file")
        headers = {
            "Cache-Control": FOR_EVER if version and version == self.version else FOR_MINUTES,
            "X-Content-Type-Options": "nosniff",
            # Pages with a policy of their own for what they embed may use it too.
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        if "gzip" in accepted.lower():
            return Response(200, packed, JAVASCRIPT, {**headers, "Content-Encoding": "gzip"})
        return Response(200, gzip.decompress(packed), JAVASCRIPT, headers)
