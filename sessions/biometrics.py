"""Which parts of a policy process biometrics, and what is left of a policy without them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from detection.engine.policy import DEFAULT_POLICY, Policy

BIOMETRIC_DETECTORS: Final = ("identity", "voice")
"""Those that make an embedding by which somebody is told from others. What sees that there is a face, or hears that
somebody speaks, tells nobody apart."""

WITHOUT: Final[Mapping[str, Any]] = {"detectors": {name: {"enabled": False} for name in BIOMETRIC_DETECTORS}}
"""What a session's overrides or an exam's policy must say to be watched without biometrics."""


def is_biometric(document: Mapping[str, Any]) -> bool:
    """Tell whether a session under this policy document compares faces or voices."""
    detectors = _part(document, "detectors")
    return any(
        _part(detectors, name).get("enabled", getattr(DEFAULT_POLICY.detectors, name).enabled)
        for name in BIOMETRIC_DETECTORS
    )


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return a part of a document; what an older version wrote, and is none any more, says nothing."""
    part = document.get(name)
    return part if isinstance(part, Mapping) else {}


def without_biometrics(policy: Policy) -> Policy:
    """Return the policy with everything switched off that needs consent to biometrics."""
    off = {name: dataclasses.replace(getattr(policy.detectors, name), enabled=False) for name in BIOMETRIC_DETECTORS}
    return dataclasses.replace(policy, detectors=dataclasses.replace(policy.detectors, **off))
