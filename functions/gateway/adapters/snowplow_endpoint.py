"""``POST /com.snowplowanalytics.snowplow/tp2``: what Snowplow's trackers send. Their app id is the write key."""

from gateway.adapters.accept import Sent, accept, describe_refused
from gateway.adapters.snowplow import read_payload
from gateway.body import MAX_BATCH_BYTES
from gateway.ports import Deps
from gateway.request import Request, Response, json_response
from shared.errors import InvalidRequest


def accept_snowplow(request: Request, deps: Deps) -> Response:
    """Accept the payloads in ``data``."""
    payloads = request.parse_body(MAX_BATCH_BYTES).value.get("data")
    if not isinstance(payloads, list):
        raise InvalidRequest("'data' must be a list of payloads", code="invalid_batch")
    key = next((each["aid"] for each in payloads if isinstance(each, dict) and each.get("aid")), None)
    refused = accept(request, deps, Sent("snowplow", key, payloads, read_payload))
    return json_response(200, {"success": True, **describe_refused(refused)})
