"""The Gateway's Lambda handler: decode the request, find its route, call the endpoint, encode the response."""

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from gateway import cors, request
from gateway.ports import Deps
from gateway.request import Response, json_response
from gateway.routes import ADAPTER_ROUTES, ROUTES, Router
from shared.errors import OpportuneError

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def create_handler(deps: Deps) -> Handler:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics
    router = Router((*ROUTES, *ADAPTER_ROUTES))

    def respond(event: dict[str, Any]) -> Response:
        try:
            received = request.decode(event, deps.trusted_proxy.identify_client(event))
            if received.method == "OPTIONS":
                return Response(204, headers=cors.PREFLIGHT)
            endpoint, parameters = router.find(received.method, received.path)
            return endpoint(received._replace(parameters=parameters) if parameters else received, deps)
        except OpportuneError as error:
            return respond_with_error(error)

    def respond_with_error(error: OpportuneError) -> Response:
        """Return *error* as JSON. Some trackers treat an error without code and message as a failed connection."""
        metrics.add_metric(name="RequestsRefused", unit=MetricUnit.Count, value=1)
        if error.status >= 500:
            logger.error("request failed", extra={"code": error.code, "reason": error.message})
        content = {"success": False, "code": error.code, "message": error.message}
        return json_response(error.status, content, error.headers)

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
        metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
        response = request.encode(respond(event))
        response["headers"].update(cors.response_headers((event.get("headers") or {}).get("origin", "")))
        return response

    return handler
