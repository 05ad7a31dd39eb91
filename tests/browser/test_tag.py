"""The site tag in a real browser: what it sends and when, without losing or duplicating anything."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route

from tests.support.tag_site import KEY, Edge, Site, eventually, page

POPUP = {"id": "a1", "campaign": "three-wins", "layout": "modal", "title": "Wow", "body": "", "actions": []}
Open = Callable[..., Page]


@pytest.fixture(name="open_page")
def _open_page(context: BrowserContext, edge: Edge, site: Site) -> Open:
    """Return a function that opens a page with the tag. *ready*: wait until the core is loaded."""

    def open_page(body: str = "", *, ready: bool = True, **more: Any) -> Page:
        site.pages["/"] = (page(edge, body, **more), {})
        opened = context.new_page()
        opened.goto(f"{site.url}/?from=mail")
        if ready:
            opened.wait_for_function("() => window.opportune?.anonymousId")
        return opened

    return open_page


def test_a_call_arrives_with_all_that_segments_format_has(open_page: Open, edge: Edge) -> None:
    """A message has ids, time, page and library. The text body needs no preflight, cookie or Authorization."""
    opened = open_page()
    opened.evaluate("opportune.track('Added', {sku: 'X1', amount: 20})")
    eventually(lambda: bool(edge.named("Added")), opened)
    (message,) = edge.named("Added")
    assert message["properties"] == {"sku": "X1", "amount": 20}
    assert len(message["messageId"]) == len(message["anonymousId"]) == 32
    assert message["timestamp"].endswith("Z")
    assert "userId" not in message
    where = message["context"]["page"]
    assert (where["path"], where["search"], where["title"]) == ("/", "?from=mail", "A page")
    assert message["context"]["library"]["name"] == "opportune.js"
    request = edge.requests[-1]
    assert request["headers"]["content-type"].startswith("text/plain")
    assert not {"cookie", "authorization"} & request["headers"].keys()
    assert "cookies" not in request
    assert edge.bodies[-1]["writeKey"] == KEY


def test_calls_before_the_core_is_there_are_kept_in_order(open_page: Open, edge: Edge) -> None:
    """Calls before the core is loaded, by queue or methods, are kept, each with its own time."""
    early = "<script>window.opportune = []; opportune.push(['identify', 'anna'], ['track', 'First']);</script>"
    opened = open_page(
        "<script>opportune.push(['track', 'Second', {n: 2}])</script>", head=early, attributes='data-pages="off"'
    )
    eventually(lambda: bool(edge.named("Second")), opened)
    sent = edge.messages
    assert [each["type"] for each in sent] == ["identify", "track", "track"]
    assert [each.get("event") for each in sent] == [None, "First", "Second"]
    assert {each["userId"] for each in sent} == {"anna"}
    assert len(edge.bodies) == 1


def test_the_loaders_methods_promise_the_answer(context: BrowserContext, edge: Edge, site: Site) -> None:
    """A call before the core is loaded returns a promise of the popups in its response."""
    edge.popups["won"] = POPUP
    site.pages["/"] = (page(edge).replace("async", ""), {})
    opened = context.new_page()
    opened.goto(site.url)
    opened.add_script_tag(content="window.came = opportune.track('won')")
    assert opened.evaluate("() => window.came.then(([popup]) => popup.id)") == "a1"


def test_what_is_said_in_one_breath_goes_in_one_request(open_page: Open, edge: Edge) -> None:
    """Simultaneous calls form a batch in their order. Later calls wait for its response."""
    opened = open_page(attributes='data-pages="off"')
    opened.evaluate("() => { for (let n = 0; n < 5; n++) opportune.track('Step', {n}) }")
    eventually(lambda: len(edge.named("Step")) == 5, opened)
    assert [each["properties"]["n"] for each in edge.named("Step")] == list(range(5))
    assert len(edge.bodies) == 1


def test_who_it_is_stays_known_until_a_reset(open_page: Open, edge: Edge) -> None:
    """User id and token are sent with all later calls, including on other pages. A reset forgets them."""
    opened = open_page()
    opened.evaluate("opportune.identify('anna', {tier: 'vip'}, {token: 'jwt'})")
    opened.reload()
    opened.wait_for_function("() => window.opportune?.anonymousId")
    opened.evaluate("opportune.track('After')")
    eventually(lambda: bool(edge.named("After")), opened)
    (identify,) = [each for each in edge.messages if each["type"] == "identify"]
    (after,) = edge.named("After")
    assert (identify["userId"], identify["traits"]) == ("anna", {"tier": "vip"})
    assert after["userId"] == "anna"
    assert identify["context"]["identity_token"] == after["context"]["identity_token"] == "jwt"
    assert after["anonymousId"] == identify["anonymousId"]
    opened.evaluate("() => { opportune.reset(); opportune.track('Nobody') }")
    eventually(lambda: bool(edge.named("Nobody")), opened)
    (nobody,) = edge.named("Nobody")
    assert "userId" not in nobody
    assert "identity_token" not in nobody["context"]
    assert nobody["anonymousId"] != after["anonymousId"]


def test_another_users_token_is_not_kept(open_page: Open, edge: Edge) -> None:
    """A new id without a token is sent without one, because the old token proves a different user."""
    opened = open_page()
    opened.evaluate("() => { opportune.identify('anna', {}, {token: 'hers'}); opportune.identify('bob') }")
    opened.evaluate("opportune.track('Then')")
    eventually(lambda: bool(edge.named("Then")), opened)
    assert edge.named("Then")[0]["userId"] == "bob"
    assert "identity_token" not in edge.named("Then")[0]["context"]


def test_pages_of_a_single_page_application(open_page: Open, edge: Edge) -> None:
    """Each new address is a page view with its own title, however it is reached. A repeated address counts once."""
    opened = open_page()

    def paths() -> list[str]:
        return [each["properties"]["path"] for each in edge.messages if each["type"] == "page"]

    eventually(lambda: paths() == ["/"], opened)
    opened.evaluate("() => { history.pushState({}, '', '/games'); document.title = 'Games' }")
    eventually(lambda: paths() == ["/", "/games"], opened)
    assert edge.messages[-1]["properties"]["title"] == "Games"
    opened.evaluate("() => { history.replaceState({}, '', '/games'); history.pushState({}, '', '/shop') }")
    eventually(lambda: paths() == ["/", "/games", "/shop"], opened)
    opened.evaluate("history.back()")
    eventually(lambda: paths() == ["/", "/games", "/shop", "/games"], opened)


def test_pages_can_be_left_to_the_site(open_page: Open, edge: Edge) -> None:
    """With data-pages="off", only calls are page views. They have the signatures of analytics.js."""
    opened = open_page(attributes='data-pages="off"')
    opened.evaluate("() => history.pushState({}, '', '/games')")
    opened.evaluate(
        "() => { opportune.page('Shop', 'Cart', {items: 2}); opportune.page('Home'); opportune.page({x: 1}) }"
    )
    eventually(lambda: len(edge.messages) == 3, opened)
    first, second, third = edge.messages
    assert (first["category"], first["name"], first["properties"]["items"]) == ("Shop", "Cart", 2)
    assert (second.get("category"), second["name"]) == (None, "Home")
    assert (third.get("name"), third["properties"]["x"], third["properties"]["path"]) == (None, 1, "/games")


def test_elements_say_what_happens_to_them(open_page: Open, edge: Edge) -> None:
    """Clicks, submits and views are sent; numbers, booleans and quoted text are parsed as JSON."""
    opened = open_page(
        """<button data-event="Added" data-prop-sku='"007"' data-prop-amount="20" data-prop-gift="true"
             data-prop-size="20 cm">
             <b id="inside">Add</b></button>
           <form data-event="Asked" data-event-on="submit" action="javascript:void 0">
             <button id="ask">Ask</button></form>
           <div style="height: 3000px"></div>
           <p id="far" data-event="Seen" data-event-on="view" data-prop-place="foot">The foot</p>"""
    )
    opened.click("#inside")
    opened.click("#ask")
    eventually(lambda: bool(edge.named("Asked")), opened)
    assert edge.named("Added")[0]["properties"] == {"sku": "007", "amount": 20, "gift": True, "size": "20 cm"}
    assert edge.named("Seen") == []
    opened.locator("#far").scroll_into_view_if_needed()
    eventually(lambda: bool(edge.named("Seen")), opened)
    opened.evaluate("() => scrollTo(0, 0)")
    opened.locator("#far").scroll_into_view_if_needed()
    opened.evaluate(
        """() => { const late = document.createElement('p'); late.textContent = 'late';
                   late.dataset.event = 'Late'; late.dataset.eventOn = 'view'; document.body.append(late);
                   late.scrollIntoView(); }"""
    )
    eventually(lambda: bool(edge.named("Late")), opened)
    assert len(edge.named("Seen")) == len(edge.named("Added")) == len(edge.named("Asked")) == 1


def test_what_was_said_offline_comes_later_with_the_same_id(
    open_page: Open, edge: Edge, context: BrowserContext
) -> None:
    """A retried event keeps its id and time. The popup in its late response is not shown."""
    edge.popups["won"] = POPUP
    opened = open_page()
    opened.wait_for_timeout(200)
    context.set_offline(True)
    assert opened.evaluate("opportune.track('won')") == []
    assert edge.named("won") == []
    context.set_offline(False)
    eventually(lambda: bool(edge.named("won")), opened)
    opened.wait_for_timeout(500)
    assert len(edge.named("won")) == 1
    assert edge.bodies[-1]["sentAt"] > edge.named("won")[0]["timestamp"]
    assert opened.locator("opportune-popup").count() == 0
    assert opened.evaluate("() => Object.keys(localStorage).filter((key) => key.includes('kept')).length") == 0


def test_a_failed_request_is_sent_again_with_the_same_id(open_page: Open, edge: Edge) -> None:
    """After a 503 the event is stored and retried, also from the next page. It is not lost, and shows no popup."""
    edge.popups["won"] = POPUP
    opened = open_page(attributes='data-pages="off"')
    edge.status = 503
    opened.evaluate("opportune.track('won')")
    edge.status = 0
    opened.reload()
    eventually(lambda: len(edge.named("won")) >= 2, opened)
    opened.wait_for_timeout(300)
    assert len({each["messageId"] for each in edge.named("won")}) == 1
    assert opened.locator("opportune-popup").count() == 0


@pytest.mark.parametrize("wait", ["Wed, 25 Nov 2026 23:00:00 GMT", "soon", "2592000", "-1"])
def test_whatever_a_server_in_trouble_says_is_a_wait(open_page: Open, edge: Edge, wait: str) -> None:
    """If Retry-After is a date or a month away, the tag does not retry immediately."""
    opened = open_page(attributes='data-pages="off"')
    asked: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "*", "Retry-After": wait}
        route.fulfill(status=503, headers=headers)

    opened.route(f"{edge.url}/v1/**", refuse)
    opened.clock.install()
    opened.clock.pause_at(datetime.now(tz=UTC) + timedelta(seconds=1))
    opened.evaluate("opportune.track('x')")
    opened.clock.run_for(990)  # the first wait is a second at least
    opened.wait_for_timeout(100)
    assert len(asked) == 1


def test_what_the_server_refuses_is_not_sent_again(open_page: Open, edge: Edge) -> None:
    """An invalid event is dropped, and the console shows the code."""
    opened = open_page(attributes='data-pages="off"')
    told: list[str] = []
    opened.on("console", lambda message: told.append(message.text))
    opened.evaluate("opportune.track('')")
    eventually(lambda: any("no_event_name" in text for text in told), opened)
    edge.status = 400
    opened.evaluate("opportune.track('x')")
    edge.status = 0
    opened.wait_for_timeout(200)
    assert opened.evaluate("() => Object.keys(localStorage).filter((key) => key.includes('kept')).length") == 0


def test_what_is_kept_is_bounded(open_page: Open, edge: Edge) -> None:
    """A day without a server does not fill the storage: only the newest hundred events stay."""
    opened = open_page(attributes='data-pages="off"')
    edge.status = 503
    opened.evaluate("() => Promise.all(Array.from({length: 130}, (_, n) => opportune.track('Step', {n})))")
    kept = "() => Object.keys(localStorage).filter((key) => key.includes('kept')).length"
    assert opened.evaluate(kept) == 100
    opened.evaluate(
        "() => Promise.all(Array.from({length: 10}, (_, n) => opportune.track('Big', {text: 'x'.repeat(30000)})))"
    )
    assert opened.evaluate(kept) <= 7


def test_a_click_that_leaves_the_page_arrives(open_page: Open, edge: Edge) -> None:
    """Requests outlive the page without delaying navigation, including those that wait for another one."""
    opened = open_page('<a href="/next" data-event="Left">Leave</a>', attributes='data-pages="off"')
    opened.evaluate(
        "() => document.querySelector('a').addEventListener('click', () => setTimeout(() => opportune.track('Behind')))"
    )
    opened.click("a")
    opened.wait_for_url("**/next")
    eventually(lambda: bool(edge.named("Left")), opened)
    assert len(edge.named("Left")) == 1


def test_a_tab_that_is_closed_loses_nothing(open_page: Open, edge: Edge, context: BrowserContext) -> None:
    """The last calls are sent as a beacon."""
    opened, other = open_page(attributes='data-pages="off"'), context.new_page()
    opened.evaluate("() => { addEventListener('pagehide', () => opportune.track('Closed'), true) }")
    opened.evaluate("() => { opportune.track('Last'); opportune.track('Very last') }")
    opened.close(run_before_unload=True)
    eventually(lambda: bool(edge.named("Very last")), other)
    assert len(edge.named("Last")) == len(edge.named("Very last")) == 1


def test_two_tabs_do_not_send_what_is_kept_twice_at_once(open_page: Open, edge: Edge, context: BrowserContext) -> None:
    """When both tabs come online at the same moment, only one sends."""
    first, second = open_page(attributes='data-pages="off"'), open_page(attributes='data-pages="off"')
    context.set_offline(True)
    for tab in (first, second):
        tab.evaluate("(n) => opportune.track('Kept', {n})", 1)
    context.set_offline(False)
    eventually(lambda: len(edge.named("Kept")) >= 2, first)
    first.wait_for_timeout(500)
    assert len(edge.named("Kept")) == len({each["messageId"] for each in edge.named("Kept")}) == 2


def test_nothing_is_sent_or_stored_before_consent_where_it_is_required(open_page: Open, edge: Edge) -> None:
    """Calls wait in memory. With consent they are sent, and the consent is stored."""
    opened = open_page(attributes='data-consent="required"')
    opened.evaluate("() => { opportune.identify('anna'); opportune.track('Early') }")
    opened.wait_for_timeout(300)
    assert edge.messages == []
    assert opened.evaluate("() => localStorage.length") == 0
    opened.evaluate("opportune.consent({analytics: true, marketing: true})")
    eventually(lambda: bool(edge.named("Early")), opened)
    assert edge.named("Early")[0]["userId"] == "anna"
    assert edge.named("Early")[0]["context"]["consent"] == {"analytics": True, "marketing": True}
    opened.reload()
    opened.wait_for_function("() => window.opportune?.anonymousId")
    opened.evaluate("opportune.track('Later')")
    eventually(lambda: bool(edge.named("Later")), opened)


def test_a_refusal_sends_nothing_and_forgets(open_page: Open, edge: Edge) -> None:
    """After a refusal nothing is sent, and only the refusal is stored."""
    opened = open_page(attributes='data-pages="off"')
    opened.evaluate("opportune.identify('anna')")
    opened.evaluate("opportune.consent(false)")
    seen = len(edge.messages)
    assert opened.evaluate("opportune.track('Secret')") == []
    opened.reload()
    opened.wait_for_function("() => window.opportune?.anonymousId")
    opened.evaluate("opportune.track('Secret')")
    opened.wait_for_timeout(300)
    assert len(edge.messages) == seen
    assert opened.evaluate("() => Object.keys(localStorage)") == [f"opportune:{KEY}:consent"]


def test_without_consent_to_marketing_there_are_events_and_no_popups(open_page: Open, edge: Edge) -> None:
    """Both purposes are stored and sent to the server."""
    edge.popups["won"] = POPUP
    opened = open_page()
    opened.evaluate("opportune.consent({analytics: true, marketing: false})")
    assert len(opened.evaluate("opportune.track('won')")) == 1
    opened.wait_for_timeout(300)
    assert opened.locator("opportune-popup").count() == 0
    assert edge.named("won")[0]["context"]["consent"] == {"analytics": True, "marketing": False}


def test_global_privacy_control_is_a_refusal_until_the_visitor_consents(
    context: BrowserContext, open_page: Open, edge: Edge
) -> None:
    """The browser's signal counts as a refusal; explicit consent on this site overrides it."""
    context.add_init_script("Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {value: true})")
    opened = open_page()
    opened.evaluate("opportune.track('Secret')")
    opened.wait_for_timeout(300)
    assert edge.messages == []
    assert opened.evaluate("() => localStorage.length") == 0
    opened.evaluate("opportune.consent(true)")
    opened.evaluate("opportune.track('Allowed')")
    eventually(lambda: bool(edge.named("Allowed")), opened)
    assert edge.named("Secret") == []


def test_it_follows_analytics_js(open_page: Open, edge: Edge) -> None:
    """If a site keeps its tracker, its calls are sent here too, once and with its anonymous id."""
    emitter = """<script>
      const listeners = {};
      window.analytics = {on: (name, listener) => (listeners[name] = listener), ready: (then) => then(),
                          user: () => ({anonymousId: () => 'ajs-anonymous', id: () => null})};
      window.emit = (name, ...said) => listeners[name](...said);
    </script>"""
    opened = open_page(head=emitter, attributes='data-follow="analytics"')
    opened.evaluate("() => { emit('identify', 'anna', {tier: 'vip'}, {}); emit('track', 'Added', {sku: 'X1'}, {}, ) }")
    opened.evaluate("() => emit('page', null, 'Home', {}, {})")
    eventually(lambda: len(edge.messages) == 3, opened)
    assert [each["type"] for each in edge.messages] == ["identify", "track", "page"]
    assert {each["anonymousId"] for each in edge.messages} == {"ajs-anonymous"}
    assert edge.messages[1]["userId"] == "anna"
    assert edge.messages[1]["properties"] == {"sku": "X1"}
    assert edge.messages[2]["name"] == "Home"


def test_it_is_itself_only_once(open_page: Open, edge: Edge, site: Site) -> None:
    """A page that includes it twice sends everything once."""
    script = f'<script async src="{edge.url}/tag.js" data-key="{KEY}"></script>'
    opened = open_page(script, attributes='data-pages="off"')
    opened.wait_for_timeout(300)
    opened.evaluate("opportune.track('Once')")
    eventually(lambda: bool(edge.named("Once")), opened)
    opened.wait_for_timeout(200)
    assert len(edge.named("Once")) == 1


def test_a_mistake_in_a_call_stops_nothing(open_page: Open, edge: Edge) -> None:
    """An event that cannot be serialised is reported in the console. Page and tag continue."""
    opened = open_page(attributes='data-pages="off"')
    assert (
        opened.evaluate("() => { const ring = {}; ring.ring = ring; opportune.track('Ring', ring); return 'on' }")
        == "on"
    )
    opened.evaluate("opportune.push(['no_such_call'])")
    opened.evaluate("opportune.track('Next')")
    eventually(lambda: bool(edge.named("Next")), opened)
    assert [each["event"] for each in edge.messages] == ["Next"]


def test_what_is_named_like_the_script_is_not_taken_for_it(open_page: Open, edge: Edge, site: Site) -> None:
    """User-written markup with names, such as an image, changes neither the key nor the loaded files."""
    site.pages["/tag/evil/core.js"] = ("window.stolen = true", {"Content-Type": "text/javascript"})
    image = f'<img name="currentScript" alt="" src="{site.url}/tag.js" data-key="wk_of_somebody_else">'
    opened = open_page(image, head=image)
    opened.evaluate("opportune.track('Added')")
    eventually(lambda: bool(edge.named("Added")), opened)
    assert {body["writeKey"] for body in edge.bodies} == {KEY}


def test_no_name_of_a_property_or_a_call_reaches_the_prototypes(open_page: Open, edge: Edge) -> None:
    """Names such as `__proto__` in attributes, properties, traits and calls are data or are ignored."""
    names = 'data-prop-__proto__=\'{"polluted": 1}\' data-prop-constructor="x" data-prop-to-string="y"'
    opened = open_page(f'<button id="go" data-event="Clicked" {names}>Go</button>', attributes='data-pages="off"')
    opened.click("#go")
    opened.evaluate(
        """() => {
          const named = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}');
          opportune.identify("anna", named);
          opportune.track("Named", named, { context: named });
          for (const name of ["__proto__", "constructor", "toString", "hasOwnProperty", "valueOf"])
            opportune.push([name, named]);
          opportune.track("Last");
        }"""
    )
    eventually(lambda: bool(edge.named("Last")), opened)
    assert opened.evaluate("() => [{}.polluted, [].polluted, (() => 1).polluted]") == [None] * 3
    (clicked,) = edge.named("Clicked")
    assert (clicked["properties"]["constructor"], clicked["properties"]["to-string"]) == ("x", "y")
    assert edge.named("Named")[0]["properties"]["constructor"] == {"prototype": {"polluted": 1}}
