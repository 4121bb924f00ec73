"""Pictures in a folder of their own, and broadcasts finished before the next test."""

from __future__ import annotations

from tests.alerts.conftest import no_lasting_connections, no_listener_outlives_its_test, wake_ups_are_out

__all__ = ["no_lasting_connections", "no_listener_outlives_its_test", "wake_ups_are_out"]
