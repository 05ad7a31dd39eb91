"""The distribution that may be put in front of the API, and what guards it."""

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

PARTS = {"Distribution", "OriginRequests", "TellHost", "OriginSecret", "GatewayReadsOriginSecret"}
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
CACHING_OPTIMIZED = "658327ea-f89d-4fab-a63d-7e88639e58f6"
RATES = {setting.name: setting.default for setting in SETTINGS}


def stack(template: Template, **parameters: str) -> Stack:
    """Return the stack with *parameters*."""
    return Stack(template, {**required(template), **parameters})


def distribution(template: Template, **parameters: str) -> Node:
    """Return the configuration of the distribution."""
    made = stack(template, PublicEndpoint="cloudfront", **parameters)
    found: Node = made.value(made.resources["Distribution"]["Properties"]["DistributionConfig"])
    return found


def variables(made: Stack) -> Node:
    """Return the environment of the Gateway."""
    found: Node = made.value(made.resources["GatewayFunction"]["Properties"]["Environment"]["Variables"])
    return found


def behaviours(template: Template) -> dict[str, Node]:
    """Return the cache behaviours by their paths; "*": the default."""
    config = distribution(template)
    return {**{each["PathPattern"]: each for each in config["CacheBehaviors"]}, "*": config["DefaultCacheBehavior"]}


def behaviour(template: Template, path: str) -> Node:
    """Return the cache behaviour that a request to *path* meets: the first whose pattern it fits."""
    for pattern, found in behaviours(template).items():
        if re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), path):
            return found
    raise AssertionError(path)


# ── On and off ─────────────────────────────────────────────────────────────────────────────────────


def test_without_it_there_is_nothing_of_it(template: Template) -> None:
    """No resource, no output, no right, no secret to be read: as if there were no such thing."""
    off = stack(template)
    assert not PARTS & off.resources.keys()
    assert not any("Distribution" in name or "Origin" in name for name in off.outputs)
    assert off.value(off.outputs["EndpointUrl"]["Value"]) == "https://<Api>.execute-api.eu-central-1.amazonaws.com"
    environment = variables(off)
    assert "OPPORTUNE_ORIGIN_SECRET" not in environment
    assert environment["OPPORTUNE_PROXIES"] == "0"


@pytest.mark.parametrize(("endpoint", "direct"), [("both", "true"), ("cloudfront", "false")])
def test_with_it_the_gateway_knows_its_secret_and_whom_to_take(template: Template, endpoint: str, direct: str) -> None:
    """One proxy is believed; requests around it are taken only while sites move."""
    on = stack(template, PublicEndpoint=endpoint)
    assert on.resources.keys() >= PARTS
    environment = variables(on)
    assert environment["OPPORTUNE_ORIGIN_SECRET"] == "<OriginSecret>"
    assert environment["OPPORTUNE_PROXIES"] == "1"
    assert environment["OPPORTUNE_DIRECT_REQUESTS"] == direct
    assert ("DirectRequestsAlarm" in on.resources) == (direct == "false")


def test_trackers_are_told_the_distributions_address(template: Template) -> None:
    """By its own name, or by that of CloudFront."""
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
        ({"WebAclArn": SAMPLES["WebAclArn"][1]}, ["WebAclArn is for"]),
        (
            {"DistributionDomain": "a.example", "DistributionCertificateArn": SAMPLES["DistributionCertificateArn"][1]},
            ["DistributionDomain is for"],
        ),
        ({"PublicEndpoint": "cloudfront", "WebAclArn": SAMPLES["WebAclArn"][1]}, []),
    ],
)
def test_what_would_mean_nothing_is_refused(template: Template, parameters: dict[str, str], broken: list[str]) -> None:
    """Before anything is made: else somebody would believe that he is guarded."""
    found = stack(template, **parameters).broken_rules()
    assert len(found) == len(broken)
    assert all(part in text for part, text in zip(broken, found, strict=True))


@pytest.mark.parametrize("name", ["DistributionCertificateArn", "WebAclArn"])
def test_what_is_in_another_region_is_refused(template: Template, name: str) -> None:
    """Of certificates and web ACLs CloudFront takes those of us-east-1 alone."""
    pattern = template.source["Parameters"][name]["AllowedPattern"]
    good = SAMPLES[name][1]
    assert re.fullmatch(pattern, good)
    assert not re.fullmatch(pattern, good.replace("us-east-1", "eu-central-1"))


# ── What passes through ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", [path for route in ROUTES for path in route.paths])
def test_only_the_tag_is_kept(template: Template, path: str) -> None:
    """Calls are never answered from a cache, and with every method; the tag's files are, and say for how long."""
    met = behaviour(template, re.sub(r"\{\w+\}", "x", path))
    if path.startswith("/tag"):
        assert (met["CachePolicyId"], met["Compress"]) == (CACHING_OPTIMIZED, True)
        assert "OriginRequestPolicyId" not in met
    else:
        assert (met["CachePolicyId"], met["OriginRequestPolicyId"]) == (CACHING_DISABLED, "<OriginRequests>")
    methods = {route.method for route in ROUTES if path in route.paths} | {"OPTIONS"}
    assert methods <= set(met["AllowedMethods"])
    assert met["CachedMethods"] == ["GET", "HEAD"]
    assert met["ViewerProtocolPolicy"] == "https-only"


def test_everything_but_host_and_cookies_is_passed_on(template: Template) -> None:
    """Authorization, Origin, Content-Encoding and the query among it; the host would lead to no API of that name."""
    policy = template.resources["OriginRequests"]["Properties"]["OriginRequestPolicyConfig"]
    assert policy["HeadersConfig"] == {"HeaderBehavior": "allExcept", "Headers": ["Host"]}
    assert policy["QueryStringsConfig"] == {"QueryStringBehavior": "all"}
    assert policy["CookiesConfig"] == {"CookieBehavior": "none"}


def test_no_failure_is_kept(template: Template) -> None:
    """Of those that CloudFront else keeps for ten seconds, whatever the policy of caching says."""
    kept = distribution(template)["CustomErrorResponses"]
    assert {each["ErrorCode"] for each in kept} == {404, 405, 414, 500, 501, 502, 503, 504}
    assert all(each.keys() == {"ErrorCode", "ErrorCachingMinTTL"} and not each["ErrorCachingMinTTL"] for each in kept)


def test_the_secret_is_read_by_cloudformation_alone(template: Template) -> None:
    """It is in no template and no parameter; another version makes CloudFormation read it anew."""
    (origin,) = distribution(template)["Origins"]
    (header,) = origin["OriginCustomHeaders"]
    assert header["HeaderName"].lower() == trusted_proxy.SECRET
    assert header["HeaderValue"] == "{{resolve:secretsmanager:<OriginSecret>:SecretString:::}}"
    version = "0a1b2c3d-0000-0000-0000-000000000000"
    assert re.fullmatch(template.source["Parameters"]["OriginSecretVersion"]["AllowedPattern"], version)
    (origin,) = distribution(template, OriginSecretVersion=version)["Origins"]
    told = origin["OriginCustomHeaders"][0]["HeaderValue"]
    assert told == f"{{{{resolve:secretsmanager:<OriginSecret>:SecretString:::{version}}}}}"


def test_tls_is_new_where_the_domain_is_ours(template: Template) -> None:
    """1.2 towards browsers and towards the API; CloudFront's own domain lets nobody choose."""
    assert distribution(template)["ViewerCertificate"] == {"CloudFrontDefaultCertificate": True}
    named = distribution(template, **{name: SAMPLES[name][1] for name in SAMPLES if "Distribution" in name})
    assert named["Aliases"] == ["events.shop.example"]
    assert named["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    assert named["ViewerCertificate"]["AcmCertificateArn"] == SAMPLES["DistributionCertificateArn"][1]
    (origin,) = named["Origins"]
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    assert origin["CustomOriginConfig"]["OriginSSLProtocols"] == ["TLSv1.2"]
    assert (named["HttpVersion"], named["IPV6Enabled"]) == ("http2and3", True)


def test_libraries_learn_the_host_that_they_asked(template: Template) -> None:
    """A function at the edge tells it to the Gateway, on the one path that needs it."""
    with_function = {pattern for pattern, each in behaviours(template).items() if "FunctionAssociations" in each}
    assert with_function == {"/v1/projects/*"}
    code = template.resources["TellHost"]["Properties"]["FunctionCode"]
    assert f"request.headers['{trusted_proxy.HOST}'] = {{value: request.headers.host.value}};" in code


# ── What guards it ─────────────────────────────────────────────────────────────────────────────────


def rules(web_acl: Template, **parameters: str) -> dict[str, Node]:
    """Return the rules by name."""
    made = Stack(web_acl, parameters)
    made.check()
    acl = made.value(made.resources["WebAcl"]["Properties"])
    assert (acl["Scope"], acl["DefaultAction"]) == ("CLOUDFRONT", {"Allow": {}})
    return {rule["Name"]: rule for rule in acl["Rules"]}


def told(web_acl: Template, rule: Node) -> tuple[int, Node, dict[str, str]]:
    """Return what is answered where *rule* blocks."""
    response = rule["Action"]["Block"]["CustomResponse"]
    content = web_acl.resources["WebAcl"]["Properties"]["CustomResponseBodies"][response["CustomResponseBodyKey"]]
    headers = {each["Name"]: each["Value"] for each in response["ResponseHeaders"]}
    return response["ResponseCode"], json.loads(content["Content"]), headers


def test_no_rule_refuses_what_the_gateway_would_take(web_acl: Template) -> None:
    """Who sends too much may come again, as at the Gateway; the lists of others only count, unless somebody says so."""
    found = rules(web_acl)
    assert found.keys() == {"requests-per-address", "body-size", "bad-addresses"}
    rate = found["requests-per-address"]["Statement"]["RateBasedStatement"]
    assert int(rate["Limit"]) >= rate["EvaluationWindowSec"] * RATES["OPPORTUNE_EVENTS_PER_SECOND"]
    assert "ScopeDownStatement" not in rate
    status, content, headers = told(web_acl, found["requests-per-address"])
    assert (status, content["code"], headers["Retry-After"]) == (429, "too_many_requests", "60")
    size = found["body-size"]["Statement"]["SizeConstraintStatement"]
    assert (size["FieldToMatch"], size["ComparisonOperator"]) == ({"SingleHeader": {"Name": "content-length"}}, "GE")
    assert 10 ** (size["Size"] - 1) > body.MAX_BATCH_BYTES
    status, content, headers = told(web_acl, found["body-size"])
    assert (status, content["code"]) == (413, "too_large")
    assert found["bad-addresses"]["OverrideAction"] == {"Count": {}}
    for name in ("requests-per-address", "body-size"):
        _, content, headers = told(web_acl, found[name])
        assert content["success"] is False
        assert headers["Access-Control-Allow-Origin"] == "*"


def test_rules_do_more_where_somebody_says_so(web_acl: Template) -> None:
    """Bad addresses are blocked, servers of one's own may send what they like."""
    found = rules(web_acl, BadAddresses="block", ServerAddresses="192.0.2.1/32", RequestsPerAddress="100")
    assert found["bad-addresses"]["OverrideAction"] == {"None": {}}
    rate = found["requests-per-address"]["Statement"]["RateBasedStatement"]
    assert (rate["Limit"], list(rate["ScopeDownStatement"])) == ("100", ["NotStatement"])


def test_nobody_is_remembered_at_the_edge(web_acl: Template) -> None:
    """No samples of requests: they hold addresses and write keys."""
    acl = web_acl.resources["WebAcl"]["Properties"]
    shown = [acl["VisibilityConfig"], *(rule["VisibilityConfig"] for rule in acl["Rules"])]
    assert not any(each["SampledRequestsEnabled"] for each in shown)
    assert all(each["CloudWatchMetricsEnabled"] for each in shown)


def test_alarms_at_the_edge_watch_what_is_there(web_acl: Template) -> None:
    """The distribution, once it is known, and the rule by the name that its metric has; they tell a topic of theirs."""
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


def test_the_linter_is_content() -> None:
    """With the Region that it is for."""
    command = [".venv-sam/bin/cfn-lint", "--regions", "us-east-1", "--", "web-acl.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_whoever_deploys_it_is_told_what_each_parameter_means(web_acl: Template) -> None:
    """Parameters and outputs have descriptions."""
    for part in ("Parameters", "Outputs"):
        for name, text in web_acl.source[part].items():
            assert len(text.get("Description", "")) > 15, name
