"""The Celery application: queues and routes come from settings."""

import os
from typing import Any

from celery import Celery, signals
from django.db import close_old_connections

from proctor_site import heartbeats as heartbeats  # connects its signals

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proctor_site.settings")

app = Celery("proctor_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@signals.task_prerun.connect
def renew_connections(**_signal: Any) -> None:
    """Replace database connections that are broken or too old, as Django does for each request."""
    close_old_connections()
