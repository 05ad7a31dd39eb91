"""Which origins a write key allows.

The class: text that only looks like an allowed origin, because a comparison of beginnings and ends is not a parser. An
attacker chooses every part that a URL may have: user name, path, port, query, case, encoded and look-alike characters.
"""

import pytest

from definitions.model.site import check_origin
from shared.origins import is_allowed
from tests.support.gateway_site import Site, win

ALLOWED = ["https://shop.example", "https://*.shop.example", "http://localhost:3000", "capacitor://localhost"]
GOOD = [
    "https://shop.example", "https://www.shop.example", "https://a.b.shop.example", "HTTPS://Shop.Example",
    "https://shop.example:443", "http://localhost:3000", "capacitor://localhost", "https://xn--strae-oqa.shop.example",
]  # fmt: skip
EVIL = [
    "https://evil.com/.shop.example", "https://evil.com?.shop.example", "https://evil.com#.shop.example",
    "https://evil.com\\.shop.example", "https://evil.com%2f.shop.example", "https://evil.com%00.shop.example",
    "https://evil.com:443.shop.example", "https://evil.com:80/.shop.example", "https://user@evil.com",
    "https://www.shop.example@evil.com", "https://evil.com@shop.example", "https://a:b@www.shop.example",
    "https://evilshop.example", "https://shop.example.evil.com", "https://.shop.example", "https://*.shop.example",
    "https://www..shop.example", "https://-.shop.example", "https://www.shop.example.", "https://shop.example/",
    "https://shop.example:8443", "http://shop.example", "http://www.shop.example", "https://shop.example:65536",
    "https://www.shop.example https://evil.com", "https://evil.com, https://shop.example", "null", "NULL", "*", "",
    "//shop.example", "shop.example", "https:shop.example", "https:///shop.example", "https://evil.com\n.shop.example",
    " https://shop.example", "https://shop.example\t", "https://evil.com\u3002shop.example", "https://\u017fhop.example",
    "https://shop.exampl\u0435", "https://evil\uff0e.shop.example", "https://evil.com\u2044.shop.example",
    "capacitor://localhost:80", "capacitor://evil", "ionic://localhost", "http://localhost", "http://localhost:30000",
    "https://" + "a" * 64 + ".shop.example", "https://" + "a." * 200 + "shop.example", "javascript://shop.example",
]  # fmt: skip


@pytest.mark.parametrize("origin", GOOD)
def test_an_allowed_origin_is_allowed(origin: str) -> None:
    """Case and the scheme's own port make no difference."""
    assert is_allowed(origin, ALLOWED)


@pytest.mark.parametrize("origin", EVIL)
def test_what_only_looks_like_one_is_not(origin: str) -> None:
    """The whole text must be an origin, and each part must match."""
    assert not is_allowed(origin, ALLOWED)


@pytest.mark.parametrize("origin", ["https://evil.com/.shop.example", "https://a@www.shop.example", "null"])
@pytest.mark.parametrize("path", ["/v1/track", "/v1/batch"])
def test_the_gateway_refuses_it(origin: str, path: str) -> None:
    """The response is 403, and no event is counted."""
    site = Site()
    status, body = site.post(path, {**win(), "batch": [win(type="track")]}, key="shop", headers={"origin": origin})
    assert (status, body["code"], site.decider.decided) == (403, "origin_not_allowed", [])


@pytest.mark.parametrize(
    "text",
    ["https://shop.example", "https://*.shop.example", "capacitor://localhost", "ionic://localhost", "http://localhost:3000",
     "tauri://localhost", "chrome-extension://abcdefghijklmnopabcdefghijklmnop", "http://[::1]:3000", "app://shop",
     "https://*.localhost", "HTTPS://Shop.Example", "com.shop.app://start"],
)  # fmt: skip
def test_a_site_may_name_pages_and_apps(text: str) -> None:
    """Apps that embed a browser have schemes of their own."""
    assert is_allowed(text.lower().replace("*", "www"), [check_origin(text)])


@pytest.mark.parametrize(
    "text",
    ["https://shop.example/", "https://shop.example/path", "shop.example", "null", "*", "https://*", "https://*.com",
     "https://a*.shop.example", "https://user@shop.example", "https://stra\u00dfe.example", "https://shop.example:99999",
     "capacitor://", "https://shop..example", "capacitor//localhost"],
)  # fmt: skip
def test_a_site_may_not_name_anything_else(text: str) -> None:
    """A pattern that covers a whole top-level domain is a mistake, too."""
    with pytest.raises(ValueError, match=r"is not an origin|covers everything"):
        check_origin(text)
