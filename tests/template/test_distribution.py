"""The optional distribution in front of the API, and its web ACL."""

import json
import re
import subprocess
from typing import Any

import pytest

from gateway import body, trusted_proxy
from gateway.routes import ROUTES
from shared.settings import SETTINGS
from tests.support.paths import ROOT
from tests.support.stacks import SAMPLES, Stack, required
from tests.template.conftest import Node, Template, referred

PARTS = {"Distribution", "OriginRequests", "ForwardHost", "OriginSecret", "GatewayReadsOriginSecret"}
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
CACHING_OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
RATES = {setting.name: setting.default for setting in SETTINGS}


def stack(template: Template, **parameters: str) -> Stack:
    """Return the stack with *parameters*."""
    return Stack(template, {**required(template), **parameters})


def distribution(template: Template, **parameters: str) -> Node:
    """Return the computed configuration of the distribution."""
    made = stack(template, PublicEndpoint="cloudfront", **parameters)
    found: Node = made.value(made.resources["Distribution"]["Properties"]["DistributionConfig"])
    return found


def variables(made: Stack) -> Node:
    """Return the environment of the Gateway."""
    found: Node = made.value(made.resources["GatewayFunction"]["Properties"]["Environment"]["Variables"])
    return found


def behaviours(template: Template) -> dict[str, Node]:
    """Return the cache behaviours by path pattern; the default is "*"."""
    config = distribution(template)
    return {**{each["PathPattern"]: each for each in config["CacheBehaviors"]}, "*": config["DefaultCacheBehavior"]}


def behaviour(template: Template, path: str) -> Node:
    """Return the cache behaviour for *path*: the first one whose pattern matches."""
    for pattern, found in behaviours(template).items():
        if re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), path):
            return found
    raise AssertionError(path)


# ── On and off ─────────────────────────────────────────────────────────────────────────────────────


def test_the_distribution_is_optional(template: Template) -> None:
    """Without it, none of its resources, outputs, permissions and secrets exist."""
    off = stack(template)
    assert not PARTS & off.resources.keys()
    assert not any("Distribution" in name or "Origin" in name for name in off.outputs)
    assert off.value(off.outputs["EndpointUrl"]["Value"]) == "https://<Api>.execute-api.eu-central-1.amazonaws.com"
    environment = variables(off)
    assert "OPPORTUNE_ORIGIN_SECRET" not in environment
    assert environment["OPPORTUNE_PROXIES"] == "0"


@pytest.mark.parametrize(("endpoint", "direct"), [("both", "true"), ("cloudfront", "false")])
def test_the_gateway_trusts_the_distribution(template: Template, endpoint: str, direct: str) -> None:
    """It trusts one proxy, and accepts direct requests only with PublicEndpoint both."""
    on = stack(template, PublicEndpoint=endpoint)
    assert on.resources.keys() >= PARTS
    environment = variables(on)
    assert environment["OPPORTUNE_ORIGIN_SECRET"] == "<OriginSecret>"
    assert environment["OPPORTUNE_PROXIES"] == "1"
    assert environment["OPPORTUNE_DIRECT_REQUESTS"] == direct
    assert ("DirectRequestsAlarm" in on.resources) == (direct == "false")


def test_the_endpoint_is_the_distribution(template: Template) -> None:
    """Its URL has your own domain, or that of CloudFront."""
    named = stack(
        template, PublicEndpoint="both", **{name: SAMPLES[name][1] for name in SAMPLES if "Distribution" in name}
    )
    assert named.value(named.outputs["EndpointUrl"]["Value"]) == "https://events.shop.example"
    unnamed = stack(template, PublicEndpoint="both")
    assert unnamed.value(unnamed.outputs["EndpointUrl"]["Value"]) == "https://<Distribution.DomainName>"


@pytest.mark.parametrize(
    ("parameters", "broken"),
    [
        ({"PublicEndpoint": "both", "DistributionDomain": "events.shop.example"}, ["DistributionCertificateArn"]),
        ({"WebAclArn": SAMPLES["WebAclArn"][1]}, ["WebAclArn needs"]),
        (
            {"DistributionDomain": "a.example", "DistributionCertificateArn": SAMPLES["DistributionCertificateArn"][1]},
            ["DistributionDomain needs"],
        ),
        ({"PublicEndpoint": "cloudfront", "WebAclArn": SAMPLES["WebAclArn"][1]}, []),
    ],
)
def test_parameters_without_effect_fail(template: Template, parameters: dict[str, str], broken: list[str]) -> None:
    """Otherwise an operator could believe that the endpoint is protected."""
    found = stack(template, **parameters).broken_rules()
    assert len(found) == len(broken)
    assert all(part in text for part, text in zip(broken, found, strict=True))


@pytest.mark.parametrize("name", ["DistributionCertificateArn", "WebAclArn"])
def test_arns_of_another_region_are_refused(template: Template, name: str) -> None:
    """CloudFront only accepts certificates and web ACLs in us-east-1."""
    pattern = template.source["Parameters"][name]["AllowedPattern"]
    good = SAMPLES[name][1]
    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, good.replace("us-east-1", "eu-central-1"))


# ── Requests and responses ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [path for route in ROUTES for path in route.paths])
def test_only_the_tag_is_cached(template: Template, path: str) -> None:
    """API calls are never cached, and all their methods are allowed. The tag's files are cached as they say."""
    found = behaviour(template, re.sub(r"\{\w+\}", "x", path))
    if path.startswith("/tag"):
        assert (found["CachePolicyId"], found["Compress"]) == (CACHING_OPTIMIZED, True)
        assert "OriginRequestPolicyId" not in found
    else:
        assert (found["CachePolicyId"], found["OriginRequestPolicyId"]) == (CACHING_DISABLED, "<OriginRequests>")
    methods = {route.method for route in ROUTES if path in route.paths} | {"OPTIONS"}
    assert methods <= set(found["AllowedMethods"])
    assert found["CachedMethods"] == ["GET", "HEAD"]
    assert found["ViewerProtocolPolicy"] == "https-only"


def test_everything_but_host_and_cookies_is_forwarded(template: Template) -> None:
    """This includes Authorization, Origin, Content-Encoding and the query. API Gateway would not know the host."""
    policy = template.resources["OriginRequests"]["Properties"]["OriginRequestPolicyConfig"]
    assert policy["HeadersConfig"] == {"HeaderBehavior": "allExcept", "Headers": ["Host"]}
    assert policy["QueryStringsConfig"] == {"QueryStringBehavior": "all"}
    assert policy["CookiesConfig"] == {"CookieBehavior": "none"}


def test_no_error_is_cached(template: Template) -> None:
    """CloudFront would cache these errors for ten seconds, whatever the cache policy says."""
    errors = distribution(template)["CustomErrorResponses"]
    assert {each["ErrorCode"] for each in errors} == {404, 405, 414, 500, 501, 502, 503, 504}
    assert all(each.keys() == {"ErrorCode", "ErrorCachingMinTTL"} and not each["ErrorCachingMinTTL"] for each in errors)


def test_only_cloudformation_reads_the_secret(template: Template) -> None:
    """It is in no template and no parameter; with another version, CloudFormation reads it again."""
    (origin,) = distribution(template)["Origins"]
    (header,) = origin["OriginCustomHeaders"]
    assert header["HeaderName"].lower() == trusted_proxy.SECRET
    assert header["HeaderValue"] == "{{resolve:secretsmanager:<OriginSecret>:SecretString:::}}"
    version = "0a1b2c3d-0000-0000-0000-000000000000"
    assert re.fullmatch(template.source["Parameters"]["OriginSecretVersion"]["AllowedPattern"], version)
    (origin,) = distribution(template, OriginSecretVersion=version)["Origins"]
    value = origin["OriginCustomHeaders"][0]["HeaderValue"]
    assert value == f"{{{{resolve:secretsmanager:<OriginSecret>:SecretString:::{version}}}}}"


def test_your_own_domain_requires_tls_1_2(template: Template) -> None:
    """TLS 1.2 is required for browsers and for the API. CloudFront's own domain offers no choice."""
    assert distribution(template)["ViewerCertificate"] == {"CloudFrontDefaultCertificate": True}
    named = distribution(template, **{name: SAMPLES[name][1] for name in SAMPLES if "Distribution" in name})
    assert named["Aliases"] == ["events.shop.example"]
    assert named["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    assert named["ViewerCertificate"]["AcmCertificateArn"] == SAMPLES["DistributionCertificateArn"][1]
    (origin,) = named["Origins"]
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    assert origin["CustomOriginConfig"]["OriginSSLProtocols"] == ["TLSv1.2"]
    assert (named["HttpVersion"], named["IPV6Enabled"]) == ("http2and3", True)


def test_the_gateway_learns_the_host_of_the_request(template: Template) -> None:
    """A function at the edge forwards it on the one path that needs it."""
    with_function = {pattern for pattern, each in behaviours(template).items() if "FunctionAssociations" in each}
    assert with_function == {"/v1/projects/*"}
    code = template.resources["ForwardHost"]["Properties"]["FunctionCode"]
    assert f"request.headers['{trusted_proxy.HOST}'] = {{value: request.headers.host.value}};" in code


# ── The web ACL ────────────────────────────────────────────────────────────────────────────────────


def rules(web_acl: Template, **parameters: str) -> dict[str, Node]:
    """Return the rules by name."""
    made = Stack(web_acl, parameters)
    made.check()
    acl = made.value(made.resources["WebAcl"]["Properties"])
    assert (acl["Scope"], acl["DefaultAction"]) == ("CLOUDFRONT", {"Allow": {}})
    return {rule["Name"]: rule for rule in acl["Rules"]}


def block_response(web_acl: Template, rule: Node) -> tuple[int, Node, dict[str, str]]:
    """Return status, content and headers of the response if *rule* blocks."""
    response = rule["Action"]["Block"]["CustomResponse"]
    content = web_acl.resources["WebAcl"]["Properties"]["CustomResponseBodies"][response["CustomResponseBodyKey"]]
    headers = {each["Name"]: each["Value"] for each in response["ResponseHeaders"]}
    return response["ResponseCode"], json.loads(content["Content"]), headers


def test_no_rule_refuses_what_the_gateway_accepts(web_acl: Template) -> None:
    """Limits are at or above those of the Gateway, with its responses, and lists of bad addresses only count."""
    found = rules(web_acl)
    assert found.keys() == {"requests-per-address", "body-size", "bad-addresses"}
    rate = found["requests-per-address"]["Statement"]["RateBasedStatement"]
    assert int(rate["Limit"]) >= rate["EvaluationWindowSec"] * RATES["OPPORTUNE_EVENTS_PER_SECOND"]
    assert "ScopeDownStatement" not in rate
    status, content, headers = block_response(web_acl, found["requests-per-address"])
    assert (status, content["code"], headers["Retry-After"]) == (429, "too_many_requests", "60")
    size = found["body-size"]["Statement"]["SizeConstraintStatement"]
    assert (size["FieldToMatch"], size["ComparisonOperator"]) == ({"SingleHeader": {"Name": "content-length"}}, "GE")
    assert 10 ** (size["Size"] - 1) > body.MAX_BATCH_BYTES
    status, content, headers = block_response(web_acl, found["body-size"])
    assert (status, content["code"]) == (413, "too_large")
    assert found["bad-addresses"]["OverrideAction"] == {"Count": {}}
    for name in ("requests-per-address", "body-size"):
        _, content, headers = block_response(web_acl, found[name])
        assert content["success"] is False
        assert headers["Access-Control-Allow-Origin"] == "*"


def test_parameters_make_the_rules_stricter(web_acl: Template) -> None:
    """Bad addresses can be blocked, and your own servers can be exempt from the limit."""
    found = rules(web_acl, BadAddresses="block", ServerAddresses="192.0.2.1/32", RequestsPerAddress="100")
    assert found["bad-addresses"]["OverrideAction"] == {"None": {}}
    rate = found["requests-per-address"]["Statement"]["RateBasedStatement"]
    assert (rate["Limit"], list(rate["ScopeDownStatement"])) == ("100", ["NotStatement"])


def test_the_web_acl_keeps_no_samples(web_acl: Template) -> None:
    """Samples of requests would hold addresses and write keys."""
    acl = web_acl.resources["WebAcl"]["Properties"]
    shown = [acl["VisibilityConfig"], *(rule["VisibilityConfig"] for rule in acl["Rules"])]
    assert not any(each["SampledRequestsEnabled"] for each in shown)
    assert all(each["CloudWatchMetricsEnabled"] for each in shown)


def test_the_alarms_of_the_web_acl_watch_existing_metrics(web_acl: Template) -> None:
    """They watch the distribution, once it is known, and the rate rule, and send to their own topic."""
    assert "DistributionErrorsAlarm" not in Stack(web_acl, {}).resources
    made = Stack(web_acl, {"DistributionId": "E1ABCDEF"})
    made.check()
    alarms: dict[str, Any] = {
        name: made.value(each["Properties"]) for name, each in made.resources.items() if name.endswith("Alarm")
    }
    assert alarms.keys() == {"DistributionErrorsAlarm", "RequestsPerAddressAlarm"}
    assert all(list(referred(web_acl.resources[name]["Properties"]["AlarmActions"])) == ["Alarms"] for name in alarms)
    watched = {each["Name"]: each["Value"] for each in alarms["RequestsPerAddressAlarm"]["Dimensions"]}
    acl = made.value(web_acl.resources["WebAcl"]["Properties"])
    assert watched == {
        "WebACL": acl["VisibilityConfig"]["MetricName"],
        "Rule": acl["Rules"][0]["VisibilityConfig"]["MetricName"],
    }


def test_cfn_lint_passes() -> None:
    """The linter knows that the stack is for us-east-1."""
    command = [".venv-sam/bin/cfn-lint", "--regions", "us-east-1", "--", "infrastructure/web-acl.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_parameter_and_output_has_a_description(web_acl: Template) -> None:
    """Descriptions explain each of them."""
    for part in ("Parameters", "Outputs"):
        for name, text in web_acl.source[part].items():
            assert len(text.get("Description", "")) > 15, name
