"""Why an incident was opened, in words and numbers a person can check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alerts.models import Incident
from alerts.severity import excess
from detection.engine.policy import SCALES, EventType

_MEASURED: Mapping[str, tuple[str, str]] = {
    EventType.NO_FACE: ("number of faces in view", ""),
    EventType.MULTIPLE_PERSONS: ("number of faces in view", ""),
    EventType.FACE_MISMATCH: ("similarity with the enrolled face", ""),
    EventType.SPEECH_DETECTED: ("share of speech in a window of sound", ""),
    EventType.MICROPHONE_SILENT: ("loudness of the microphone", " dBFS"),
}
_PLAIN: Mapping[str, str] = {
    EventType.CONNECTION_LOST: "The connection was gone",
    EventType.CAMERA_LOST: "The camera sent nothing",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One measured number at the three moments; empty where it was not measured."""

    name: str
    onset: str
    decision: str
    peak: str


def sentence(incident: Incident) -> str:
    """Say in a sentence what was measured against which threshold, and for how long."""
    rule = incident.rule
    hold = f"for at least {rule['hold_s']:g} s"
    if incident.event_type in _PLAIN:
        return f"{_PLAIN[incident.event_type]} {hold}."
    what, unit = _MEASURED.get(incident.event_type, ("measure", ""))
    below = incident.event_type in SCALES and SCALES[EventType(incident.event_type)].below
    side = f"below the threshold of {rule['enter']:g}" if below else f"at or above the threshold of {rule['enter']:g}"
    return f"The {what} was {side}{unit} {hold}. Its most extreme value was {incident.peak_value:.3g}{unit}."


def severity_sum(incident: Incident) -> str:
    """Write out how the severity came about."""
    rule = incident.rule
    share = excess(incident.event_type, peak_value=incident.peak_value, enter=rule["enter"])
    return f"{rule['severity']:g} · (½ + ½ · {share:.2f}) = {incident.severity:.3f}"


def measures(incident: Incident) -> list[Row]:
    """Return every number and word that was measured at the onset, at the decision and at the peak."""
    moments = [_flat(incident.measures.get(name) or {}) for name in ("onset", "decision", "peak")]
    names = sorted(set().union(*moments))
    return [Row(name, *(_shown(moment.get(name)) for moment in moments)) for name in names]


def _flat(measured: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn ``{"identity": {"similarity": 0.6}}`` into ``{"identity.similarity": 0.6}``; lists are left out."""
    found: dict[str, Any] = {}
    for name, value in measured.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        elif value is not None and value != "" and not isinstance(value, list | tuple):
            found[f"{prefix}{name}"] = value
    return found


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)
