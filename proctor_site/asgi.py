"""The ASGI application: HTTP by Django, WebSockets by Channels."""

import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proctor_site.settings")
django_application = get_asgi_application()  # before anything that imports models

from django.conf import settings  # noqa: E402

from accounts.apps import keys_verify_at_start  # noqa: E402
from alerts.routing import websocket_application  # noqa: E402
from proctor_site.body_limit import BodyBounds, BodyLimit  # noqa: E402
from proctor_site.daphne_request import bounded_requests_install  # noqa: E402
from proctor_site.request_threads import RequestThreads  # noqa: E402

keys_verify_at_start()
bounds = BodyBounds(bytes=settings.SMALL_BODY_MAX_BYTES, picture_bytes=settings.BODY_MAX_BYTES)
bounded_requests_install(bounds)
threads = RequestThreads(django_application, at_once=settings.WEB_CONCURRENT_REQUESTS)
application = ProtocolTypeRouter(
    {
        "http": BodyLimit(threads, bounds=bounds),
        "websocket": websocket_application,
    }
)
