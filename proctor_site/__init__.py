"""The Django project. Importing it binds ``shared_task`` to the project's Celery application."""

from proctor_site.celery import app as celery_app

__all__ = ["celery_app"]
