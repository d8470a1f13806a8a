"""`/metrics`: the page, or what to install for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wippy_lua.admin.exchange import Refusal, Request, Response
from wippy_lua.admin.survey import Survey

if TYPE_CHECKING:
    from wippy_lua.admin.metrics import Metrics
    from wippy_lua.assembly import App

MISSING: Final = 'metrics need prometheus-client: pip install "wippy-lua[metrics]"'


class MetricsPage:
    """Answers with the metrics of a host."""

    def __init__(self, metrics: Metrics | None) -> None:
        self._metrics = metrics

    @classmethod
    def of(cls, app: App, survey: Survey) -> MetricsPage:
        """Returns the page of a host; without prometheus-client one that says so."""
        try:
            from wippy_lua.admin.metrics import Metrics
        except ModuleNotFoundError as missing:
            if missing.name is None or missing.name.partition(".")[0] != "prometheus_client":
                raise
            return cls(None)
        return cls(Metrics(app, survey))

    def show(self, request: Request) -> Response:
        """Blocks for the patience of the survey at most; raises Refusal without the extra."""
        if self._metrics is None:
            raise Refusal(501, MISSING)
        content_type, text = self._metrics.page(request.header("Accept"))
        return Response(200, text, content_type)
