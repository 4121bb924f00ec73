"""All detectors. A new one costs its file, a line here, an entry in ``weights.toml``, a test and a model card.

They run in this order, and each sees what those before it found in the sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from detection.engine.detectors import (
    body,
    camera,
    faces,
    gaze,
    head_pose,
    identity,
    landmarks,
    level,
    liveness,
    mouth,
    objects,
    sounds,
    speakers,
    speech,
    tones,
    transcript,
    voice,
    whisper,
)


@dataclass(frozen=True, slots=True)
class DetectorEntry:
    """What a detector needs: the weights it loads, and its class.

    ``build`` gets the loaded models, in the order of ``weights``: names in ``weights.toml``, ``NAME!PART`` for one part
    of a MediaPipe bundle. After them it gets the content of each of ``assets``, files that are no networks, as bytes.
    """

    weights: tuple[str, ...]
    build: Callable[..., Any]
    assets: tuple[str, ...] = ()
    recogniser: transcript.Whisper | None = None
    """What hears words for it, loaded by ``recogniser.load_recogniser`` and handed over last."""

    @property
    def is_optional(self) -> bool:
        """Return whether it is for installations that ask for it: recognisers are large."""
        return self.recogniser is not None


DETECTORS: Mapping[str, DetectorEntry] = {
    "faces": DetectorEntry((faces.MODEL_NAME,), faces.FaceDetector),
    "camera": DetectorEntry((), camera.CameraDetector),
    "liveness": DetectorEntry((liveness.MODEL_NAME,), liveness.LivenessDetector),
    "identity": DetectorEntry((identity.MODEL_NAME, identity.LANDMARKER_NAME), identity.FaceEmbedder),
    "landmarks": DetectorEntry(landmarks.MODEL_NAMES, landmarks.LandmarkDetector),
    "head_pose": DetectorEntry((), head_pose.HeadPoseDetector, (head_pose.CANONICAL_FACE,)),
    "gaze": DetectorEntry((), gaze.GazeDetector, (gaze.CANONICAL_FACE,)),
    "mouth": DetectorEntry((), mouth.MouthDetector),
    "objects": DetectorEntry((objects.MODEL_NAME,), objects.ObjectDetector),
    "body": DetectorEntry(body.MODEL_NAMES, body.BodyDetector),
    "level": DetectorEntry((), level.LevelDetector),
    "speech": DetectorEntry((speech.MODEL_NAME,), speech.SpeechDetector),
    "speakers": DetectorEntry((speakers.MODEL_NAME,), speakers.SpeakersDetector),
    "whisper": DetectorEntry((), whisper.WhisperDetector),
    "sounds": DetectorEntry((), sounds.SoundsDetector),
    "tones": DetectorEntry((tones.MODEL_NAME,), tones.TonesDetector),
    "voice": DetectorEntry((voice.MODEL_NAME,), voice.VoiceDetector),
    "transcript": DetectorEntry(
        (transcript.MODEL_NAME,), transcript.TranscriptDetector, recogniser=transcript.WHISPER_BASE
    ),
}
