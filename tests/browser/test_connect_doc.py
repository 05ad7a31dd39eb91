"""The tag template in docs/connect.md sends what the page shows, with the functions that a server container offers."""

import json
import re
from typing import Any

from playwright.sync_api import Browser

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "connect.md").read_text(encoding="utf-8")
EVENT = {
    "event_name": "purchase", "user_id": "anna", "client_id": "17.42", "event_id": "e-1", "x-ga-protocol_version": "2",
    "currency": "EUR", "value": 59.9, "items": [{"item_id": "s1", "quantity": 2}],
}  # fmt: skip
RUN = """
([code, event]) => {
  const sent = [], ended = [];
  const offered = {
    getAllEventData: () => event,
    getTimestampMillis: () => 1790000000000,
    JSON: { parse: JSON.parse, stringify: JSON.stringify },
    toBase64: btoa,
    sendHttpRequest: (url, callback, options, body) => {
      sent.push({ url, method: options.method, headers: options.headers, body });
      callback(sent.length ? 200 : 500, {}, "");
    },
  };
  const data = {
    endpoint: "https://events.example.com", key: "secret",
    gtmOnSuccess: () => ended.push("success"), gtmOnFailure: () => ended.push("failure"),
  };
  new Function("require", "data", code)((name) => offered[name], data);
  return { sent, ended };
}
"""


def test_the_template_sends_what_the_page_shows(browser: Browser) -> None:
    """The body is the example that `tests/unit/docs/test_connect.py` posts; the tag ends with success."""
    (code,) = re.findall(r"^```js gtm\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    section = PAGE.split("## Google Tag Manager", 1)[1]
    (example,) = re.findall(r"^```json POST /v1/track\n(.*?)^```$", section.split("\n## ")[0], re.MULTILINE | re.DOTALL)
    page = browser.new_page()
    result: dict[str, Any] = page.evaluate(RUN, [code, EVENT])
    page.close()
    (sent,) = result["sent"]
    assert json.loads(sent["body"]) == json.loads(example)
    assert (sent["url"], sent["method"]) == ("https://events.example.com/v1/track", "POST")
    assert sent["headers"]["Authorization"] == "Basic c2VjcmV0Og=="
    assert result["ended"] == ["success"]
