"""Serve the files of the site tag, which the build has compressed.

Browsers cache the loader for minutes. The files that it loads have their version in the address and are cached
forever. A page with an outdated loader gets the current files, which work together whatever version it asked for.
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
CACHE_MINUTES = "public, max-age=300, stale-while-revalidate=86400"
CACHE_FOREVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Tag:
    """The compressed files by name, and the version that the loader asks for."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    version: str = ""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the tag that a build has left in *folder*; it has no files if there was no build."""
        files = {path.name.removesuffix(".gz"): path for path in sorted(folder.glob("**/*.gz"))}
        versions = {path.parent.name for name, path in files.items() if name != LOADER}
        return cls({name: path.read_bytes() for name, path in files.items()}, "".join(sorted(versions)[:1]))

    def serve(self, file: str, version: str, accept_encoding: str) -> Response:
        """Return *file* in an encoding that the browser accepts; raise `NotFound`."""
        if not self.files:
            raise NotFound("the site tag was not built: run `make build` and deploy again", code="tag_not_built")
        compressed = self.files.get(file)
        if compressed is None or (file == LOADER) != (not version):
            raise NotFound("the site tag has no such file")
        headers = {
            "Cache-Control": CACHE_FOREVER if version and version == self.version else CACHE_MINUTES,
            "X-Content-Type-Options": "nosniff",
            # Pages with a Cross-Origin-Embedder-Policy may load it too.
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        if "gzip" in accept_encoding.lower():
            return Response(200, compressed, JAVASCRIPT, {**headers, "Content-Encoding": "gzip"})
        return Response(200, gzip.decompress(compressed), JAVASCRIPT, headers)
