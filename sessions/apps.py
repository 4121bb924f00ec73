"""Exams, policies, sessions."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class SessionsConfig(AppConfig):
    """Labelled apart from ``django.contrib.sessions``."""

    name = "sessions"
    label = "exam_sessions"
    verbose_name = "Exam sessions"

    def ready(self) -> None:
        """Check what seeds policies, and have every organisation's default policy made together with the tables."""
        from sessions import auth  # noqa: F401  # registers its part of the OpenAPI document
        from sessions.policies import first_policy_document

        first_policy_document()  # refuses a FACE_MATCH_THRESHOLD that no policy can have
        post_migrate.connect(_make_default_policies, sender=self)


def _make_default_policies(**_: Any) -> None:
    from accounts.models import Organisation
    from sessions.policies import policy_default

    for organisation in Organisation.objects.all():
        policy_default(organisation=organisation)
