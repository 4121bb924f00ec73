"""The ASGI application: HTTP by Django, WebSockets by Channels."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proctor_site.settings")
django_application = get_asgi_application()  # before anything that imports models

from django.conf import settings  # noqa: E402

from accounts.apps import keys_verify_at_start  # noqa: E402
from alerts.routing import websocket_application  # noqa: E402
from proctor_site.body_limit import BodyLimit  # noqa: E402

keys_verify_at_start()
application = ProtocolTypeRouter(
    {
        "http": BodyLimit(django_application, max_bytes=settings.BODY_MAX_BYTES),
        "websocket": websocket_application,
    }
)
