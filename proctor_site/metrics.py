"""``/metrics`` of the web process: everything all processes of this box have counted, for the monitoring alone."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from media_gateway.metrics_access import REFUSAL, is_allowed, networks
from proctor_site.metrics_server import shared_registry


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer in Prometheus' text format, to addresses in ``METRICS_ALLOWED_NETWORKS`` alone."""
    allowed = networks(settings.METRICS_ALLOWED_NETWORKS)
    forwarded_for = request.META.get("HTTP_X_FORWARDED_FOR", "")
    if not is_allowed(request.META.get("REMOTE_ADDR", ""), forwarded_for, allowed):
        return HttpResponse(REFUSAL, status=403, content_type="text/plain")
    return HttpResponse(generate_latest(shared_registry()), content_type=CONTENT_TYPE_LATEST)
