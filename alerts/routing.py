"""WebSocket addresses, and what stands before them: back-pressure, then the admin's login."""

from __future__ import annotations

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from django.urls import path, re_path

from alerts.consumers import NowhereConsumer, SessionConsumer
from alerts.flow import FlowControl
from alerts.proctor_consumer import ProctorConsumer

websocket_urlpatterns = [
    path("api/v1/session/ws/<str:session_id>", SessionConsumer.as_asgi()),
    path("api/v1/proctor/ws", ProctorConsumer.as_asgi()),
    re_path(r"", NowhereConsumer.as_asgi()),
]
websocket_application = FlowControl(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
