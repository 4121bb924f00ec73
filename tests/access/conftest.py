"""Pictures in a folder of their own, and broadcasts finished before the next test."""

from __future__ import annotations

from tests.alerts.conftest import evidence_dir, no_lasting_connections, no_listener_outlives_its_test

__all__ = ["evidence_dir", "no_lasting_connections", "no_listener_outlives_its_test"]
