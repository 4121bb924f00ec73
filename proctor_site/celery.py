"""The Celery application: queues and routes come from settings."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proctor_site.settings")

app = Celery("proctor_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
