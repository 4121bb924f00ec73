from django.apps import AppConfig


class SessionsConfig(AppConfig):
    """Labelled apart from ``django.contrib.sessions``."""

    name = "sessions"
    label = "exam_sessions"
    verbose_name = "Exam sessions"
