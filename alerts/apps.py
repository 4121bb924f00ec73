"""The alerts app."""

from django.apps import AppConfig


class AlertsConfig(AppConfig):
    name = "alerts"

    def ready(self) -> None:
        """Let files follow their rows in every process, and refuse to start with networks that are none."""
        from alerts import addresses, evidence  # noqa: F401  # evidence connects its signal

        addresses.allowed_networks()
