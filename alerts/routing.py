"""WebSocket addresses."""

from django.urls import path, re_path

from alerts.consumers import NowhereConsumer, SessionConsumer

websocket_urlpatterns = [
    path("api/v1/session/ws/<str:session_id>", SessionConsumer.as_asgi()),
    re_path(r"", NowhereConsumer.as_asgi()),
]
