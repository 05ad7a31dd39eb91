"""The site tag: built from its sources, small, and served with the right caching."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.tag import Tag
from opportune.site_tag import build
from tests.support.gateway_site import Site


@pytest.fixture(name="built", scope="module")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    build.build(folder)
    return folder


def test_the_tag_keeps_within_its_budgets() -> None:
    """Loader, core and renderer keep within their budgets, in compressed bytes."""
    _, files = build.minified_files()
    assert files.keys() == build.BUDGETS.keys()
    sizes = {file: len(build.compress(text)) for file, text in files.items()}
    assert {file: size for file, size in sizes.items() if size > build.BUDGETS[file]} == {}


def test_the_same_sources_make_the_same_files(tmp_path: Path, built: Path) -> None:
    """Version and bytes depend only on the sources, so a rebuild changes no address."""
    again = tmp_path / "again"
    build.build(again)
    listed = [path.relative_to(built) for path in built.rglob("*.gz")]
    assert len(listed) == 3
    assert all((again / path).read_bytes() == (built / path).read_bytes() for path in listed)


@pytest.mark.parametrize("damaged", [b"", b"half", gzip.compress(b"old"), gzip.compress(b"old" * 99)[:-9]])
def test_a_build_leaves_finished_files_alone(tmp_path: Path, damaged: bytes) -> None:
    """The local stack builds at every start. A file that is damaged is written again."""
    version = build.build(tmp_path)
    core, loader = tmp_path / version / "core.js.gz", tmp_path / "tag.js.gz"
    before, written = core.stat().st_mtime_ns, loader.read_bytes()
    loader.write_bytes(damaged)
    build.build(tmp_path)
    assert (core.stat().st_mtime_ns, loader.read_bytes()) == (before, written)


def test_a_build_removes_what_was_built_before(tmp_path: Path) -> None:
    """Only the version that the loader names remains."""
    (tmp_path / "0123").mkdir()
    version = build.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == [version]
    assert f"tag/{version}/core.js" in gzip.decompress((tmp_path / "tag.js.gz").read_bytes()).decode()


def test_nothing_is_left_to_fill_in() -> None:
    """The build replaces the placeholders in all files."""
    for text in build.minified_files()[1].values():
        assert not [word for word in ("{css}", "{core}", "{render}", "{version}") if word in text]


def ask(built: Path, path: str, **headers: str) -> dict[str, Any]:
    """Return the Gateway's response to a GET of *path*."""
    return Site(tag=Tag.load(built)).ask("GET", path, headers=headers)


def test_the_loader_is_cached_for_minutes(built: Path) -> None:
    """The loader is cached for minutes only, because it names the current version of the other files."""
    response = ask(built, "/tag.js")
    assert (response["statusCode"], response["isBase64Encoded"]) == (200, False)
    assert response["headers"]["Content-Type"] == "text/javascript; charset=utf-8"
    assert "max-age=300" in response["headers"]["Cache-Control"]
    assert "import(" in response["body"]


@pytest.mark.parametrize("file", ["core.js", "render.js"])
def test_versioned_files_are_cached_forever(built: Path, file: str) -> None:
    """A file with its version in the address never changes. It is sent compressed, and any origin may read it."""
    version = Tag.load(built).version
    response = ask(built, f"/tag/{version}/{file}", **{"accept-encoding": "gzip, br", "origin": "https://shop.example"})
    headers = response["headers"]
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert (headers["Content-Encoding"], response["isBase64Encoded"]) == ("gzip", True)
    assert headers["Access-Control-Allow-Origin"] == "https://shop.example"
    assert headers["Vary"] == "Origin, Accept-Encoding"


def test_a_page_with_yesterdays_loader_gets_todays_files(built: Path) -> None:
    """An address of another version works too, but is not cached forever."""
    response = ask(built, "/tag/0123456789abcdef/core.js")
    assert response["statusCode"] == 200
    assert "immutable" not in response["headers"]["Cache-Control"]


@pytest.mark.parametrize("path", ["/tag/0123/other.js", "/tag/0123/tag.js", "/tag/0123/..%2Fapp.py", "/tag/core.js"])
def test_nothing_else_is_served(built: Path, path: str) -> None:
    """Only the built files have an address."""
    response = ask(built, path)
    assert (response["statusCode"], json.loads(response["body"])["code"]) == (404, "not_found")


def test_a_deployment_without_the_tag_says_so(tmp_path: Path) -> None:
    """The error names cause and remedy. Events are still accepted."""
    answer = json.loads(ask(tmp_path, "/tag.js")["body"])
    assert answer["code"] == "tag_not_built"
    assert "make build" in answer["message"]
