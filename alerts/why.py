"""Why an incident was opened, in words and numbers a person can check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.timezone import localtime

from alerts.models import Evidence, Incident
from detection.engine.policy import SCALES, EventType

_MEASURED: Mapping[str, tuple[str, str]] = {
    EventType.NO_FACE: ("number of faces in view", ""),
    EventType.MULTIPLE_PERSONS: ("number of people in view", ""),
    EventType.FACE_MISMATCH: ("similarity with the enrolled face", ""),
    EventType.FACE_PARTIAL: ("share of the face inside the picture", ""),
    EventType.FACE_TOO_FAR: ("width of the face", " px"),
    EventType.IDENTITY_UNSURE: ("time without knowing whose face is seen", " s"),
    EventType.HEAD_TURNED: ("turn of the head from how it is usually held", "°"),
    EventType.GAZE_OFF_SCREEN: ("line of sight's distance from where it usually rests", "°"),
    EventType.PHONE: ("certainty of a phone that two looks agree on", ""),
    EventType.BOOK: ("certainty of a book that two looks agree on", ""),
    EventType.SECOND_SCREEN: ("certainty of another screen that two looks agree on", ""),
    EventType.LEFT_SEAT: ("distance of the shoulders from where the candidate sits", " shoulder widths"),
    EventType.HAND_TO_FACE: ("distance of a hand from the face", " face widths"),
    EventType.BODY_MOVEMENT: ("movement compared with the candidate's usual one", " times"),
    EventType.SPEECH_OFF_CAMERA: ("share of speech heard while the lips were still", ""),
    EventType.LIPS_MOVING: ("movement of the lips while nothing was heard", ""),
    EventType.SPEECH_DETECTED: ("share of speech in a window of sound", ""),
    EventType.MULTIPLE_SPEAKERS: ("time for which a second voice was heard in half a minute", " s"),
    EventType.KEYWORD_SPOKEN: ("number of different keywords in what was said", ""),
    EventType.UNKNOWN_VOICE: ("comparison score with the voice learnt in the session", ""),
    EventType.WHISPER: ("share of the sound that was whispered", ""),
    EventType.NOTIFICATION_SOUND: ("share of a sound that was steady tones", ""),
    EventType.LOOPED_AUDIO: ("time on end for which the sound repeated itself", " s"),
    EventType.MICROPHONE_SILENT: ("loudness of the microphone", " dBFS"),
    EventType.CHALLENGE_FAILED: ("number of movements asked for at check-in that were not seen", ""),
    EventType.PRESENTATION_ATTACK: ("evidence for a print, a screen or a recording, 0 to 1,", ""),
    EventType.CAMERA_COVERED: ("detail in the picture", ""),
    EventType.CAMERA_STATIC: ("time without any change in the picture", " s"),
    EventType.LOW_LIGHT: ("brightness of the face, or without one of the brighter parts,", ""),
    EventType.BLURRED: ("sharpness of the picture", ""),
}
_EXTREMES: Mapping[str, str] = {
    EventType.NO_FACE: "Fewest faces",
    EventType.MULTIPLE_PERSONS: "Most people",
    EventType.FACE_MISMATCH: "Lowest similarity (0 to 1)",
    EventType.FACE_PARTIAL: "Least of the face inside the picture (0 to 1)",
    EventType.FACE_TOO_FAR: "Narrowest (pixels)",
    EventType.IDENTITY_UNSURE: "Longest (seconds)",
    EventType.HEAD_TURNED: "Furthest turned (degrees)",
    EventType.GAZE_OFF_SCREEN: "Furthest off (degrees)",
    EventType.PHONE: "Most certain (0 to 1)",
    EventType.BOOK: "Most certain (0 to 1)",
    EventType.SECOND_SCREEN: "Most certain (0 to 1)",
    EventType.LEFT_SEAT: "Furthest (shoulder widths)",
    EventType.HAND_TO_FACE: "Nearest (face widths)",
    EventType.BODY_MOVEMENT: "Most movement (times the usual)",
    EventType.SPEECH_OFF_CAMERA: "Largest share (0 to 1)",
    EventType.LIPS_MOVING: "Most movement (0 to 1)",
    EventType.SPEECH_DETECTED: "Largest share of speech (0 to 1)",
    EventType.MULTIPLE_SPEAKERS: "Most of a second voice (seconds)",
    EventType.KEYWORD_SPOKEN: "Most keywords at once",
    EventType.UNKNOWN_VOICE: "Lowest score (cosine, -1 to 1)",
    EventType.WHISPER: "Most whispered (share of a window)",
    EventType.NOTIFICATION_SOUND: "Clearest tones (share of the sound)",
    EventType.LOOPED_AUDIO: "Longest repetition (seconds)",
    EventType.MICROPHONE_SILENT: "Quietest (dBFS)",
    EventType.CHALLENGE_FAILED: "Most movements not seen",
    EventType.PRESENTATION_ATTACK: "Strongest evidence (0 to 1)",
    EventType.CAMERA_COVERED: "Least detail",
    EventType.CAMERA_STATIC: "Longest without change (s)",
    EventType.LOW_LIGHT: "Darkest (0 to 255)",
    EventType.BLURRED: "Least sharp",
}
_RAW: Mapping[str, str] = {
    EventType.NO_FACE: "Faces at the decision",
    EventType.MULTIPLE_PERSONS: "People at the decision",
    EventType.FACE_MISMATCH: "Raw score (cosine, -1 to 1, at the decision)",
    EventType.FACE_PARTIAL: "Inside the picture at the decision (0 to 1)",
    EventType.FACE_TOO_FAR: "Width at the decision (pixels)",
    EventType.IDENTITY_UNSURE: "Raw score (cosine, -1 to 1, at the decision)",
    EventType.HEAD_TURNED: "Degrees at the decision",
    EventType.GAZE_OFF_SCREEN: "Degrees at the decision",
    EventType.PHONE: "Certainty at the decision (0 to 1)",
    EventType.BOOK: "Certainty at the decision (0 to 1)",
    EventType.SECOND_SCREEN: "Certainty at the decision (0 to 1)",
    EventType.LEFT_SEAT: "Shoulder widths at the decision",
    EventType.HAND_TO_FACE: "Face widths at the decision",
    EventType.BODY_MOVEMENT: "Movement at the decision",
    EventType.SPEECH_OFF_CAMERA: "Share at the decision",
    EventType.LIPS_MOVING: "Movement at the decision",
    EventType.SPEECH_DETECTED: "Share of speech at the decision",
    EventType.MULTIPLE_SPEAKERS: "Second voice at the decision (seconds)",
    EventType.KEYWORD_SPOKEN: "Keywords at the decision",
    EventType.UNKNOWN_VOICE: "Score at the decision (cosine, -1 to 1)",
    EventType.WHISPER: "Whispered at the decision (share of a window)",
    EventType.NOTIFICATION_SOUND: "Tones at the decision (share of the sound)",
    EventType.LOOPED_AUDIO: "Repetition at the decision (seconds)",
    EventType.MICROPHONE_SILENT: "Loudness at the decision (dBFS)",
    EventType.CHALLENGE_FAILED: "Movements not seen",
    EventType.PRESENTATION_ATTACK: "Evidence at the decision (0 to 1)",
    EventType.CAMERA_COVERED: "Detail at the decision",
    EventType.CAMERA_STATIC: "Without change at the decision (s)",
    EventType.LOW_LIGHT: "Brightness at the decision (0 to 255)",
    EventType.BLURRED: "Sharpness at the decision",
}
_PLAIN: Mapping[str, str] = {
    EventType.CONNECTION_LOST: "The connection was gone",
    EventType.CAMERA_LOST: "The camera sent nothing",
    EventType.TAB_HIDDEN: "The exam's page was hidden",
    EventType.WINDOW_BLUR: "Another window than the exam's page had the focus",
    EventType.FULLSCREEN_EXIT: "The exam's page had left the full screen",
    EventType.CLIPBOARD: "The clipboard was used",
    EventType.SECOND_DISPLAY: "A second display was connected",
    EventType.VIRTUAL_CAMERA: "The camera in use bore the name of a program that can play recordings",
}
_NAMES: Mapping[str, str] = {
    "faces.count": "Faces beyond doubt",
    "faces.possible": "Faces, the doubtful ones included",
    "faces.width_px": "Width of the largest face (pixels)",
    "faces.visible_share": "Share of the largest face inside the picture (0 to 1)",
    "identity.comparison_score": "Raw score (cosine, -1 to 1)",
    "identity.similarity": "Similarity with the enrolled face (0 to 1)",
    "identity.decided": "Picture good enough to decide",
    "identity.reason": "Why it was not good enough",
    "identity.model": "Face model",
    "identity.quality.width_px": "Width of the face (pixels)",
    "identity.quality.sharpness": "Sharpness of the face (0.02 and more is sharp)",
    "identity.quality.brightness": "Brightness of the face (0 to 255)",
    "identity.quality.contrast": "Contrast of the face",
    "identity.quality.yaw_deg": "Turned sideways (degrees)",
    "identity.quality.pitch_deg": "Turned up or down (degrees)",
    "identity.quality.evenness": "Evenness of the detail (0 to 1; below 0.45 it may have moved)",
    "identity.quality.clarity": "Likeness that the face has kept (0 to 1)",
    "identity.strength": "Strength of the face to the model",
    "identity.clarity": "Likeness that the face has kept (0 to 1)",
    "identity.mismatch_below": "Somebody else below this similarity (0 to 1)",
    "head_line.off_deg": "Turned from how the head is usually held (degrees)",
    "head_line.calibrated": "Enough seen to know what is usual",
    "gaze_line.off_deg": "Off where the eyes usually rest (degrees)",
    "gaze_line.direction": "To which side, as the picture shows it",
    "gaze_line.uncertainty_deg": "Uncertainty of a single look (degrees)",
    "gaze_line.calibrated": "Enough seen to know what is usual",
    "persons.count": "People in view",
    "persons.faces": "Faces beyond doubt",
    "persons.visible": "Faces, the doubtful ones included",
    "persons.faceless": "People whose face is not seen",
    "persons.pictures": "Pictures of people, which do not count",
    "objects_seen.phone": "Phone, certainty that two looks agree on (0 to 1)",
    "objects_seen.phone_since": "Phone first seen",
    "objects_seen.phone_until": "Phone last seen",
    "objects_seen.book": "Book, certainty that two looks agree on (0 to 1)",
    "objects_seen.book_since": "Book first seen",
    "objects_seen.book_until": "Book last seen",
    "objects_seen.screen": "Laptop or screen, certainty that two looks agree on (0 to 1)",
    "objects_seen.screen_since": "Laptop or screen first seen",
    "objects_seen.screen_until": "Laptop or screen last seen",
    "posture.shift": "Distance from the seat (shoulder widths)",
    "posture.movement": "Movement (times the usual)",
    "posture.hand_distance": "Hand from the face (face widths, 10: not seen)",
    "posture.hand_side": "Which hand, as the picture shows it",
    "lips.moving": "Movement of the lips (0 to 1)",
    "lips.speech": "Share of speech meanwhile (0 to 1)",
    "lips.off_camera": "Speech while the lips were still (0 to 1)",
    "lips.silent": "Movement while nothing was heard (0 to 1)",
    "speech.share": "Share of speech in the window (0 to 1)",
    "speech.peak": "Highest probability of speech (0 to 1)",
    "speech.first_at": "First speech",
    "speech.last_at": "Last speech",
    "speech.chunks": "Pieces of sound judged",
    "conversation.second_s": "Second voice in the last half minute (seconds)",
    "conversation.overlap_s": "Of that, two at once (seconds)",
    "conversation.first_at": "Second voice first heard",
    "conversation.last_at": "Second voice last heard",
    "sound_loops.loop_s": "Repeats itself for (seconds)",
    "sound_loops.period_s": "What it was so long before (seconds)",
    "voices.score": "Score with the voice learnt (cosine, -1 to 1)",
    "voices.count": "Times the voice learnt was heard",
    "voices.first_at": "First comparison",
    "voices.last_at": "Last comparison",
    "transcript.text": "What was said, as a machine heard it",
    "transcript.keywords": "Keywords in it",
    "transcript.language": "Language",
    "transcript.first_at": "Heard from",
    "level.rms_dbfs": "Loudness (dBFS)",
    "level.peak_dbfs": "Loudest moment (dBFS)",
    "technical.kind": "What the gateway noted",
    "browser.kind": "What the page noted",
    "browser.ended": "It was over",
    "browser.action": "What was done",
    "browser.product": "The program",
    "browser.grade": "How surely it plays what it likes (1; 0.5: it usually hands on a real camera's picture)",
    "challenge.missed": "Movements not seen",
    "challenge.missed_since": "The first of them asked for",
    "challenge.prompts": "Which",
    "camera.brightness": "Brightness of the picture (0 to 255)",
    "camera.contrast": "Contrast of the picture",
    "camera.light": "Brightness of the face, or of the brighter parts (0 to 255)",
    "camera.sharpness": "Sharpness of the picture (0.8 and more is sharp)",
    "camera.detail": "Detail of the picture (0.1 and more shows something)",
    "camera.noise": "Noise of the picture (grey values)",
    "loops.unchanged_s": "Without change (s)",
    "loops.unchanged_since": "Unchanged since",
    "loops.mismatch": "Difference from the stretch before (1: as usual, 0: a repetition)",
    "loops.lag_s": "Length of the loop (s)",
    "liveness_pool.attack": "Evidence for an attack (0 to 1)",
    "liveness_pool.reason": "What says most of it",
    "liveness_pool.looks": "Pictures weighed",
    "liveness_pool.margin": "Live by the network (above 0)",
    "liveness_pool.moire": "Regular pattern on the face (1.3 and more is suspicious)",
    "liveness_pool.frame": "Straight edge around the face (0 to 1)",
    "liveness_pool.still_s": "Neither lids nor lips moved (s)",
    "liveness_pool.rigidity": "Background moves with the face (0.25 and more)",
    "liveness_pool.mismatch": "Difference from the stretch before (1: as usual, 0: a repetition)",
    "liveness_pool.lag_s": "Length of the loop (s)",
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
    if incident.event_type in _PLAIN and rule["hold_s"] == 0:
        return f"{_PLAIN[incident.event_type]}."
    if incident.event_type in _PLAIN:
        return f"{_PLAIN[incident.event_type]} {hold}."
    what, unit = _MEASURED.get(incident.event_type, ("measure", ""))
    below = incident.event_type in SCALES and SCALES[EventType(incident.event_type)].below
    side = f"below the threshold of {rule['enter']:g}" if below else f"at or above the threshold of {rule['enter']:g}"
    return f"The {what} was {side}{unit} {hold}. Its most extreme value was {incident.peak_value:.3g}{unit}."


def scores(incident: Incident) -> list[tuple[str, str]]:
    """Return the model's own number and the most extreme measure, each named with its scale; none where none is."""
    if incident.event_type in _PLAIN:
        return []
    raw = "-" if incident.raw_score is None else f"{incident.raw_score:.4g}"
    extreme = f"{incident.peak_value:.4g}"
    if incident.peak_at is not None:
        extreme += f" at {clock(incident.peak_at)}"
    kind = incident.event_type
    return [(_RAW.get(kind, "Raw score"), raw), (_EXTREMES.get(kind, "Most extreme"), extreme)]


def severity_sum(incident: Incident) -> str:
    """Write out how the severity came about."""
    rule = incident.rule
    return f"{rule['severity']:g} · (½ + ½ · {incident.excess:.2f}) = {incident.severity:.3f}"


def risk_sum(incident: Incident) -> str:
    """Say what the incident adds to its session's risk score, or why it adds nothing."""
    if incident.technical:
        return "nothing: technical events never count"
    standing = {
        Incident.State.CONFIRMED: "confirmed: in full",
        Incident.State.DISMISSED: "dismissed: nothing",
    }.get(Incident.State(incident.state), "not decided: half")
    return f"{incident.points:.3f} points ({standing})"


def accommodations(incident: Incident) -> list[str]:
    """Name what the candidate's own exceptions say about this incident: of its rule, and of what all rules share."""
    settings = _flat(incident.session.accommodations)
    own = f"rules.{incident.event_type}."
    return [
        f"{path.removeprefix(own)} = {_shown(path, value)}"
        for path, value in settings.items()
        if path.startswith(own) or not path.startswith("rules.")
    ]


def measures(incident: Incident) -> list[Row]:
    """Return every number and word that was measured at the onset, at the decision and at the peak."""
    moments = [_flat(incident.measures.get(name) or {}) for name in ("onset", "decision", "peak")]
    names = sorted(set().union(*moments))
    return [Row(_readable(name), *(_shown(name, moment.get(name)) for moment in moments)) for name in names]


def captions(incident: Incident, pictures: Iterable[Evidence]) -> list[tuple[Evidence, str]]:
    """Name each picture by the moments it is nearest to and its time: ``Onset, peak · 16:46:35 UTC``."""
    rows = list(pictures)
    named: dict[Any, list[str]] = {row.pk: [] for row in rows}
    moments = {"onset": incident.started_at, "decision": incident.decided_at, "peak": incident.peak_at}
    for name, at in moments.items():
        if at is not None and rows:
            named[min(rows, key=lambda row: abs(row.captured_at - at)).pk].append(name)
    return [(row, _caption(named[row.pk], row.captured_at)) for row in rows]


def _caption(moments: list[str], at: datetime) -> str:
    return f"{(', '.join(moments) or 'meanwhile').capitalize()} · {clock(at)}"


def clock(at: datetime) -> str:
    """Return the time of day with its zone, as the admin shows it."""
    return f"{localtime(at):%H:%M:%S %Z}"


def _flat(measured: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn ``{"identity": {"similarity": 0.6}}`` into ``{"identity.similarity": 0.6}``; of lists, those of words."""
    found: dict[str, Any] = {}
    for name, value in measured.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            found[f"{prefix}{name}"] = ", ".join(value)
        elif value is not None and value != "" and not isinstance(value, list | tuple):
            found[f"{prefix}{name}"] = value
    return found


def _readable(path: str) -> str:
    return _NAMES.get(path) or path.replace(".", ", ").replace("_", " ").capitalize()


def _shown(path: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if path.endswith(("_at", "_since", "_until")) and isinstance(value, int | float):
        return clock(datetime.fromtimestamp(value, UTC))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
