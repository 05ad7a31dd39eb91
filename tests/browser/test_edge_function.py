"""CloudFront's edge function, run by another JavaScript engine."""

from playwright.sync_api import BrowserContext

from tests.support.template_source import template_source

HEADERS = {"host": {"value": "events.shop.example"}, "accept": {"value": "*/*"}}


def test_the_requested_host_is_forwarded_whatever_a_client_claims(context: BrowserContext) -> None:
    """The request gets one more header, which replaces the client's own."""
    template = template_source()
    code = template["Resources"]["ForwardHost"]["Properties"]["FunctionCode"]
    page = context.new_page()
    for spoofed in ({}, {"x-opportune-host": {"value": "evil.example"}}):
        event = {"version": "1.0", "request": {"method": "GET", "headers": {**HEADERS, **spoofed}}}
        passed = page.evaluate(f"event => {{ {code} return handler(event); }}", event)
        told = {"x-opportune-host": {"value": "events.shop.example"}}
        assert passed == {"method": "GET", "headers": {**HEADERS, **told}}
