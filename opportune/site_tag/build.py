"""Build the site tag from web/tag into the files that the Gateway serves.

    loader.js            ─▶ tag.js              included by the site; names the version
    core/*.js            ─▶ <version>/core.js   calls, sending, consent, events from attributes
    render/render.js,css ─▶ <version>/render.js popups

The local stack builds the tag at every start, and so does `python -m opportune.site_tag.build`. It needs
only Python. The files are stored compressed, as they are sent. The version is a hash of their content,
so browsers may cache them forever.
"""

import gzip
import hashlib
import os
import shutil
import sys
import zlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import rcssmin
import rjsmin
import zopfli.gzip

from opportune.system.checkout import ROOT

SOURCE = ROOT / "web" / "tag"
TARGET = ROOT / "functions" / "gateway" / "assets"
# The parts share one scope, in this order: the last one starts what the others define.
CORE = ("store", "calls", "send", "popups", "page", "start")
# In bytes, compressed.
BUDGETS = {"tag.js": 512, "core.js": 4096, "render.js": 6144}


def minified_files(source: Path = SOURCE) -> tuple[str, Mapping[str, str]]:
    """Return the version, and the files by name."""
    core = "\n".join(_text(source / "core" / f"{part}.js") for part in CORE)
    css = rcssmin.cssmin(_text(source / "render" / "render.css"))
    render = _text(source / "render" / "render.js").replace('"{css}"', f"`{css}`")
    files = {
        "core.js": rjsmin.jsmin(core.replace("{version}", version("opportune")).replace("{render}", "./render.js")),
        "render.js": rjsmin.jsmin(render),
    }
    name = hashlib.sha256("\0".join(files.values()).encode()).hexdigest()[:8]
    files["tag.js"] = rjsmin.jsmin(_text(source / "loader.js").replace("{core}", f"tag/{name}/core.js"))
    return name, files


def compress(text: str) -> bytes:
    """Return *text* as gzip. Zopfli's is smaller than zlib's, and the same at any time and with any zlib."""
    return bytes(zopfli.gzip.compress(text.encode()))


def build(target: Path = TARGET, source: Path = SOURCE) -> str:
    """Write the files to *target* unless they exist, remove older versions, and return the version."""
    name, files = minified_files(source)
    for file, text in files.items():
        place = target / (f"{file}.gz" if file == "tag.js" else f"{name}/{file}.gz")
        if not _holds(place, text):
            _write(place, compress(text))
    for other in target.iterdir():
        if other.is_dir() and other.name != name:
            shutil.rmtree(other, ignore_errors=True)  # another build may do the same
    return name


def _holds(path: Path, text: str) -> bool:
    """Return whether the compressed file *path* has this text: compressing it again would take a second."""
    try:
        return gzip.decompress(path.read_bytes()) == text.encode()
    except (OSError, EOFError, zlib.error):  # missing or damaged
        return False


def _write(path: Path, content: bytes) -> None:
    """Write *content* atomically: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f"{path.name}.{os.getpid()}")
    half.write_bytes(content)
    half.replace(path)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.stdout.write(f"tag {build()}\n")
