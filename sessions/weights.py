"""The weights of a policy: what may be edited after the exam, since it re-orders attention and re-judges nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def weights_named(document: Mapping[str, Any]) -> dict[str, float]:
    """Return the weight (``severity``, 0 to 1) of each event type for which a policy document, or a part, names one."""
    rules = document.get("rules")
    if not isinstance(rules, Mapping):
        return {}
    return {
        event: rule["severity"] for event, rule in rules.items() if isinstance(rule, Mapping) and "severity" in rule
    }
