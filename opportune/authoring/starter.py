"""Write a starter: a folder of valid, commented definitions that is ready to publish."""

import re
import secrets
import shutil
import tempfile
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from shared.errors import InvalidRequest

Kind = Literal["shop", "gaming"]
KINDS: tuple[Kind, ...] = get_args(Kind)


def write(kind: Kind, folder: Path) -> list[Path]:
    """Write the starter of *kind* into *folder*, which must be new or empty; return its files, relative to it.

    The folder's name becomes the site's id, and the site gets a new public write key. All files appear together, or
    none does.
    """
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidRequest(f"{folder} already exists: choose a folder that is new or empty", code="folder_exists")
    site = re.sub(r"[^a-z0-9-]+", "-", folder.name.lower()).strip("-")[:32].strip("-") or kind
    try:
        _write(kind, folder, site)
    except OSError as error:
        raise InvalidRequest(f"{folder} cannot be written: {error.strerror}", code="folder_not_writable") from error
    return sorted(path.relative_to(folder) for path in folder.rglob("*.yaml"))


def _write(kind: Kind, folder: Path, site: str) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as parent:
        made = Path(parent) / folder.name
        with resources.as_file(resources.files("opportune.authoring") / "starters" / kind) as starter:
            shutil.copytree(starter, made)
        file = made / "site.yaml"
        text = file.read_text(encoding="utf-8").replace(f"id: {kind}\n", f"id: {site}\n")
        text = text.replace(f"wk_{kind}_public", f"wk_{secrets.token_urlsafe(18)}")
        variable = site.replace("-", "_").upper()
        file.write_text(text.replace(f"{kind.upper()}_SECRET_KEY", f"{variable}_SECRET_KEY"), encoding="utf-8")
        made.rename(folder)
