"""The templates as they are written, parsed once per worker."""

from functools import cache
from typing import Any

from ruamel.yaml import YAML

from tests.support.paths import ROOT


@cache
def template_source(file: str = "template.yaml") -> Any:
    """Return the content of a template; callers must not change it."""
    return YAML().load((ROOT / file).read_text(encoding="utf-8"))
