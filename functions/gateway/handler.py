"""The Gateway's Lambda handler: decode, find the route, answer, encode; errors and CORS in one place each."""

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit

from gateway import cors, request
from gateway.ports import Deps
from gateway.request import Response, json_answer
from gateway.routes import ROUTES, Table
from shared.errors import OpportuneError

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]


def create_handler(deps: Deps) -> Handler:
    """Return the handler bound to *deps*."""
    logger, metrics = deps.observability.logger, deps.observability.metrics
    table = Table(ROUTES)

    def answer(event: dict[str, Any]) -> Response:
        try:
            asked = request.read(event, deps.front.client(event))
            if asked.method == "OPTIONS":
                return Response(204, headers=cors.PREFLIGHT)
            endpoint, parameters = table.find(asked.method, asked.path)
            return endpoint(asked._replace(parameters=parameters) if parameters else asked, deps)
        except OpportuneError as error:
            return refuse(error)

    def refuse(error: OpportuneError) -> Response:
        """Return *error* as trackers need it: ``code`` and ``message``, or some take it for a failed connection."""
        metrics.add_metric(name="RequestsRefused", unit=MetricUnit.Count, value=1)
        if error.status >= 500:
            logger.error("request failed", extra={"code": error.code, "reason": error.message})
        content = {"success": False, "code": error.code, "message": error.message}
        return json_answer(error.status, content, error.headers)

    @logger.inject_lambda_context
    @metrics.log_metrics(capture_cold_start_metric=True)
    def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - Lambda's signature
        metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
        response = request.encode(answer(event))
        response["headers"].update(cors.headers((event.get("headers") or {}).get("origin", "")))
        return response

    return handler
