"""``/metrics`` of the web process: everything all processes of this box have counted, for the monitoring alone."""

from __future__ import annotations

import ipaddress

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from proctor_site.metrics_server import shared_registry


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer in Prometheus' text format, to addresses in ``METRICS_ALLOWED_NETWORKS`` alone."""
    if not _allowed(request):
        return HttpResponse("Metrics are not for this address.\n", status=403, content_type="text/plain")
    return HttpResponse(generate_latest(shared_registry()), content_type=CONTENT_TYPE_LATEST)


def _allowed(request: HttpRequest) -> bool:
    """Tell whether every known sender may see them: a proxy on an allowed address must not lend it to the world."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    senders = [request.META.get("REMOTE_ADDR", ""), *(part for part in forwarded.split(",") if part.strip())]
    networks = [ipaddress.ip_network(network) for network in settings.METRICS_ALLOWED_NETWORKS]
    return all(_inside(sender.strip(), networks) for sender in senders)


def _inside(sender: str, networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    try:
        address = ipaddress.ip_address(sender)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
