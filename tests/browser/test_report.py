"""The report of `opportune replay --html` in a real browser: content, sizes, dark mode and printing."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from typer.testing import CliRunner

from opportune.cli import main

USERS = 1_100
START = 1_767_261_600_000  # 2026-01-01 10:00
INJECTED = "<script>document.title = 'injected'</script>"
A4 = {"width": 688, "height": 1009}  # 210 mm by 297 mm at 96 dpi, without the margins
VIEWS = f"""
id: two-views
name: "{INJECTED} & views"
targets: everyone
trigger: {{sequence: [{{event: "view <b>", times: 2}}], within: 10m}}
channel: popup
content: {{layout: modal, title: Hi, body: there}}
"""
SILENT = """
id: never
name: Never
targets: everyone
trigger: {sequence: [{event: nothing}]}
channel: popup
content: {layout: modal, title: Hi, body: there}
"""


@pytest.fixture(name="report", scope="module")
def _report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    lines = []
    for number in range(USERS):
        user = INJECTED if number == 0 else f"user-{number}" + "x" * (100 if number == 1 else 0)
        for nth in range(6 if number == 0 else 2):
            at = START + number * 80_000 + nth * 1000 * (1 + number % 300)
            lines.append({"type": "track", "userId": user, "event": "view <b>", "timestamp": at})
    lines.sort(key=lambda line: int(str(line["timestamp"])))
    events = folder / "events & more.ndjson"
    events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "views.yaml").write_text(VIEWS)
    (folder / "silent.yaml").write_text(SILENT)
    report = folder / "report.html"
    campaigns = [part for name in ("views", "silent") for part in ("--campaign", str(folder / f"{name}.yaml"))]
    command = ["replay", *campaigns, "--events", str(events), "--html", str(report), "--json"]
    assert CliRunner().invoke(main.app, command, catch_exceptions=False).exit_code == 0
    return report


@pytest.fixture(name="page")
def _page(browser: Browser, report: Path) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme="light")
    failures: list[str] = []
    requests: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("console", lambda message: failures.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(report.as_uri())
    yield page
    loaded = [url for url in requests if not url.startswith("data:")]
    page.close()
    assert failures == []
    assert loaded == [report.as_uri()]


def width(page: Page) -> int:
    """Return the width of the page, in pixels."""
    return int(page.evaluate("document.documentElement.scrollWidth"))


def test_it_describes_the_replay(page: Page) -> None:
    """The page names the file, the counts and each campaign. Values from users are shown as text."""
    expect(page.get_by_role("heading", level=1)).to_have_text("events & more.ndjson")
    expect(page).to_have_title("Replay of events & more.ndjson – Opportune")
    expect(page.get_by_role("heading", level=2)).to_have_text(["Campaigns", "Never", f"{INJECTED} & views"])
    expect(page.locator("header dd")).to_have_text(["2,204", "1,100", "2,204", "0", "1,102", "1,100"])
    expect(page.locator(".trigger").last).to_contain_text("2 × view <b>, within 10m")
    assert page.locator("script").count() == 0


def test_the_charts_are_visible_and_described(page: Page) -> None:
    """Both charts have bars, and an accessible name and description."""
    times = page.get_by_role("img", name="Matches per 30 minutes")
    took = page.get_by_role("img", name="Time from the first event of a match to the match")
    for chart in (times, took):
        expect(chart).to_be_visible()
        box = chart.bounding_box()
        assert box is not None
        assert box["height"] > 100
    assert times.locator("rect").count() > 30
    assert 5 <= took.locator("rect").count() <= 10
    expect(times).to_have_accessible_description(re.compile(r"columns from 2026-01-01 10:00:00 .* Most matches: \d+"))
    expect(took).to_have_accessible_description(re.compile(r"^0s – 1m: \d+; "))


def test_up_to_a_thousand_users_are_listed(page: Page) -> None:
    """The user with the most matches is first. The caption says how many are left out."""
    users = page.get_by_role("region", name="The 1,000 users with most matches; 100 more are left out")
    expect(users.locator("tbody tr")).to_have_count(1000)
    first = users.locator("tbody tr").first
    expect(first.get_by_role("rowheader")).to_have_text(INJECTED)
    expect(first.get_by_role("cell").nth(1)).to_have_text("3")
    expect(first).to_contain_text("2026-01-01 10:00:01")


def test_it_follows_a_dark_colour_scheme(page: Page) -> None:
    """The background becomes dark and the text light."""
    colours = "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    light = page.evaluate(colours)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(colours)
    brightness = [[sum(map(int, colour[4:-1].split(","))) for colour in pair] for pair in (light, dark)]
    assert brightness[0][0] > 700
    assert brightness[0][1] < 150
    assert brightness[1][0] < 150
    assert brightness[1][1] > 600


@pytest.mark.parametrize("pixels", [360, 768, 1600])
def test_it_fits_every_screen(page: Page, pixels: int) -> None:
    """Wide tables and charts scroll inside the page, and the page itself does not scroll sideways."""
    page.set_viewport_size({"width": pixels, "height": 800})
    assert width(page) <= pixels


def test_it_prints_on_a4(page: Page) -> None:
    """Everything fits the width, even the longest id. Tables are not cut off, and forty users are printed."""
    page.set_viewport_size({"width": A4["width"], "height": A4["height"]})
    page.emulate_media(media="print", color_scheme="dark")
    assert width(page) <= A4["width"]
    for table in page.locator("table").all():
        box = table.bounding_box()
        assert box is not None
        assert box["width"] <= A4["width"]
    rows = page.locator(".users tbody tr")
    assert sum(row.is_visible() for row in rows.all()[:60]) == 40
    cut = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollHeight > box.clientHeight + 1).length"
    assert page.evaluate(cut) == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    expect(page.get_by_text("; the first 40 are printed")).to_be_visible()
    pages = page.pdf(prefer_css_page_size=True).count(b"/Type /Page\n")
    assert 2 <= pages <= 6
