"""Serve the files of a folder over HTTP: the demo site."""

import json
import mimetypes
from pathlib import Path
from urllib.parse import unquote

from opportune.local.http_server import Response

# The system's table may lack these types or have them wrong.
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_TEXTUAL = ("text/", "image/svg")


def serve_file(folder: Path, path: str) -> Response:
    """Return the file at the URL *path* (not decoded) below *folder*, or a 404.

    A folder responds with its ``index.html``. Nothing outside *folder* is read, not even through ``..``,
    encoded slashes or symbolic links.
    """
    root = folder.resolve()
    try:
        file = (root / unquote(path).lstrip("/")).resolve()
        if file.is_dir():
            file /= "index.html"
        if not file.is_relative_to(root) or not file.is_file():
            return _missing()
        body = file.read_bytes()
    except (OSError, ValueError):
        return _missing()
    kind = _TYPES.get(file.suffix) or mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    if kind.startswith(_TEXTUAL):
        kind += "; charset=utf-8"
    return Response(200, body, [("Content-Type", kind), ("Cache-Control", "no-store")])


def _missing() -> Response:
    body = json.dumps({"code": "not_found", "message": "page not found"}).encode()
    return Response(404, body, [("Content-Type", "application/json")])
