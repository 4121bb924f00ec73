"""The policy document: which rules run, with which thresholds, times and weights, as plain data.

A policy is stored as JSON, edited by people and overridden per session, so ``Policy.from_dict`` checks every field and
says what is wrong with it by path (``rules.NO_FACE.hold_s: must be a number from 0 to 600``). What a document leaves
out has its default, so a document written before a detector existed stays valid.
"""

from __future__ import annotations

from detection.engine.policy.defaults import DEFAULT_RULES, RulePolicy
from detection.engine.policy.document import DEFAULT_POLICY, Policy, PolicyError, merge
from detection.engine.policy.events import BROWSER_EVENTS, SCALES, TECHNICAL_EVENTS, EventType, Scale
from detection.engine.policy.parameters import (
    BodyParameters,
    CameraParameters,
    CheckIn,
    Detectors,
    FacesParameters,
    GazeParameters,
    HeadPoseParameters,
    IdentityParameters,
    LandmarksParameters,
    LevelParameters,
    LivenessParameters,
    MouthParameters,
    ObjectsParameters,
    Page,
    Sampling,
    SoundsParameters,
    SpeakersParameters,
    SpeechParameters,
    TonesParameters,
    TranscriptParameters,
    VoiceParameters,
    WhisperParameters,
)

__all__ = [
    "BROWSER_EVENTS",
    "DEFAULT_POLICY",
    "DEFAULT_RULES",
    "SCALES",
    "TECHNICAL_EVENTS",
    "BodyParameters",
    "CameraParameters",
    "CheckIn",
    "Detectors",
    "EventType",
    "FacesParameters",
    "GazeParameters",
    "HeadPoseParameters",
    "IdentityParameters",
    "LandmarksParameters",
    "LevelParameters",
    "LivenessParameters",
    "MouthParameters",
    "ObjectsParameters",
    "Page",
    "Policy",
    "PolicyError",
    "RulePolicy",
    "Sampling",
    "Scale",
    "SoundsParameters",
    "SpeakersParameters",
    "SpeechParameters",
    "TonesParameters",
    "TranscriptParameters",
    "VoiceParameters",
    "WhisperParameters",
    "merge",
]
