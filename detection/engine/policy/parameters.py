"""What is sampled, and how each detector looks: the sections of a policy that are not rules."""

from __future__ import annotations

from dataclasses import dataclass, field

from detection.engine.fields import number, words


@dataclass(frozen=True, slots=True)
class Sampling:
    """What the gateway takes from the media."""

    frames_per_second: float = number(2.0, low=0.2, high=10)
    audio_window_s: float = number(1.0, low=0.5, high=5)


@dataclass(frozen=True, slots=True)
class FacesParameters:
    """What counts as a face."""

    enabled: bool = True
    min_score: float = number(0.6, low=0.5, high=1)
    """From here on a face is possibly there: it keeps NO_FACE from opening. Faces looking down or half covered score
    0.6 to 0.8."""
    sure_score: float = number(0.8, low=0.5, high=1)
    """From here on it counts as a person for MULTIPLE_PERSONS. Nobody is accused over a doubtful face."""


@dataclass(frozen=True, slots=True)
class IdentityParameters:
    """When the face is compared with the template, and which probes are too poor to call a mismatch.

    In doubt every frame is compared. A small, dark, turned or unclear probe never accuses: see ``likeness``, where the
    figures behind ``least_clarity`` and ``clear_from`` are.
    """

    enabled: bool = True
    interval_s: float = number(5.0, low=0.1, high=600)
    min_face_px: float = number(12.0, low=8, high=1000)
    min_brightness: float = number(8.0, low=0, high=255)
    min_contrast: float = number(3.0, low=0, high=128)
    """Darker and flatter faces are a few grey values of noise."""
    max_turn_deg: float = number(40.0, low=5, high=90)
    least_clarity: float = number(0.3, low=0, high=1)
    """Less clear faces never tell that it is somebody else: their own scores reach down to strangers' mean."""
    clear_from: float = number(0.7, low=0, high=1)
    """From here on a similarity below the threshold is a mismatch. Below, it must lie the lower the less clear."""
    pooled_clarity: float = number(1.2, low=0, high=10)
    """So much clarity must several frames have together to say that it is somebody else: two clear ones, three poor."""


@dataclass(frozen=True, slots=True)
class LandmarksParameters:
    """Whether the largest face's points are found: head pose, gaze and mouth are measured on them."""

    enabled: bool = True


@dataclass(frozen=True, slots=True)
class HeadPoseParameters:
    """Whether the head's angles are measured."""

    enabled: bool = True


@dataclass(frozen=True, slots=True)
class GazeParameters:
    """When a look counts as going past the screen."""

    enabled: bool = True
    screen_deg: float = number(15.0, low=4, high=60)
    """Within so many degrees of where the candidate usually looks it is the screen: a 15-inch one seen from 60 cm."""


@dataclass(frozen=True, slots=True)
class MouthParameters:
    """Whether the mouth is measured; SPEECH_OFF_CAMERA and LIPS_MOVING need it."""

    enabled: bool = True


@dataclass(frozen=True, slots=True)
class CameraParameters:
    """What is measured of the picture itself."""

    enabled: bool = True
    find_loops: bool = True
    """Whether a picture sequence that comes again exactly speaks for PRESENTATION_ATTACK."""


@dataclass(frozen=True, slots=True)
class LivenessParameters:
    """Which faces are looked at for prints and screens, and how long evidence is gathered."""

    enabled: bool = True
    interval_s: float = number(1.0, low=0.1, high=600)
    min_face_px: float = number(60.0, low=20, high=1000)
    """The network sees a face of 30 pixels, but moire and a print's texture need more."""
    max_turn_deg: float = number(35.0, low=5, high=90)
    min_brightness: float = number(45.0, low=0, high=255)
    min_sharpness: float = number(0.012, low=0, high=1)
    """See ``quality.sharpness``."""
    window_s: float = number(12.0, low=5, high=120)
    """Over how long looks are weighed together; before two thirds of it nothing is decided."""


@dataclass(frozen=True, slots=True)
class ObjectsParameters:
    """When things are looked for, and what counts as one."""

    enabled: bool = True
    interval_s: float = number(4.0, low=0.1, high=4)
    """At most 4: looks further apart would lie in different stretches of watched time, see ``Policy.gap_s``."""
    min_score: float = number(0.4, low=0.2, high=1)
    """From here on a thing counts as seen in a single picture; PHONE, BOOK and SECOND_SCREEN have their own scores."""
    person_score: float = number(0.5, low=0.2, high=1)
    """From here on a person without a visible face counts for MULTIPLE_PERSONS, if two of three looks agree."""


@dataclass(frozen=True, slots=True)
class BodyParameters:
    """When the posture is measured."""

    enabled: bool = True
    interval_s: float = number(2.0, low=0.1, high=4)


@dataclass(frozen=True, slots=True)
class SpeechParameters:
    """What counts as speech."""

    enabled: bool = True
    min_probability: float = number(0.3, low=0.05, high=0.99)
    """Of a 32 ms chunk, as the mean over 0.3 s. Silero's authors use 0.5 on single chunks, near the microphone; the
    mean finds quiet speech at 0.3, and 15 recordings of noise stay below but for single windows (docs/accuracy.md)."""


@dataclass(frozen=True, slots=True)
class WhisperParameters:
    """What counts as whispered."""

    enabled: bool = True
    max_voiced: float = number(0.12, low=0, high=0.5)
    """Up to this share of speech with a pitch it is whispered. Of 232 seconds of meetings four had so little, never two
    in a row; of a generated whisper almost all have."""


@dataclass(frozen=True, slots=True)
class TonesParameters:
    """Sounds of notifications have nothing to set but whether they are sought."""

    enabled: bool = True


@dataclass(frozen=True, slots=True)
class SpeakersParameters:
    """When a second voice is looked for."""

    enabled: bool = True
    interval_s: float = number(6.0, low=1, high=10)
    """While somebody speaks. Ten seconds are heard each time, so nothing said between is missed."""


@dataclass(frozen=True, slots=True)
class SoundsParameters:
    """Fingerprints have nothing to set but whether they are taken."""

    enabled: bool = True


@dataclass(frozen=True, slots=True)
class VoiceParameters:
    """When the voice is compared with the one learnt in the session."""

    enabled: bool = True
    interval_s: float = number(18.0, low=1, high=600)
    """While somebody speaks; it counts where ``speakers`` looks too, so a multiple of its interval is best."""


@dataclass(frozen=True, slots=True)
class TranscriptParameters:
    """When speech is written down, and which words are looked for in it."""

    enabled: bool = False
    """Off: what people say is personal, and most exams forbid speaking, not words."""
    interval_s: float = number(5.0, low=1, high=10)
    """While somebody speaks. Ten seconds are heard each time."""
    keywords: tuple[str, ...] = words(most=50, longest=60)
    """Without any, nothing is written down."""

    @property
    def is_asked_for(self) -> bool:
        """Return whether anything is written down at all."""
        return self.enabled and bool(self.keywords)


@dataclass(frozen=True, slots=True)
class LevelParameters:
    """Loudness has nothing to set but whether it is measured."""

    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """What is expected of the candidate's page."""

    in_front: bool = False
    """Whether it must stay in front, full screen: the exam is sat on paper, aloud or beside nothing else. Then the page
    itself reports that it is hidden or left. By default the exam is sat in another tab, which hides it by design."""


@dataclass(frozen=True, slots=True)
class CheckIn:
    """The challenge that the candidate's page offers once the camera is live: some movements in a drawn order."""

    enabled: bool = True
    steps: float = number(3.0, low=1, high=5)
    """How many movements; a broken number counts as the next lower one."""
    step_s: float = number(8.0, low=3, high=60)
    """How long each may take. Who moves slowly is given more by an accommodation."""


@dataclass(frozen=True, slots=True)
class Detectors:
    """One section per detector, under the detector's name."""

    faces: FacesParameters = field(default_factory=FacesParameters)
    identity: IdentityParameters = field(default_factory=IdentityParameters)
    landmarks: LandmarksParameters = field(default_factory=LandmarksParameters)
    head_pose: HeadPoseParameters = field(default_factory=HeadPoseParameters)
    gaze: GazeParameters = field(default_factory=GazeParameters)
    mouth: MouthParameters = field(default_factory=MouthParameters)
    camera: CameraParameters = field(default_factory=CameraParameters)
    liveness: LivenessParameters = field(default_factory=LivenessParameters)
    objects: ObjectsParameters = field(default_factory=ObjectsParameters)
    body: BodyParameters = field(default_factory=BodyParameters)
    speech: SpeechParameters = field(default_factory=SpeechParameters)
    whisper: WhisperParameters = field(default_factory=WhisperParameters)
    speakers: SpeakersParameters = field(default_factory=SpeakersParameters)
    voice: VoiceParameters = field(default_factory=VoiceParameters)
    sounds: SoundsParameters = field(default_factory=SoundsParameters)
    tones: TonesParameters = field(default_factory=TonesParameters)
    transcript: TranscriptParameters = field(default_factory=TranscriptParameters)
    level: LevelParameters = field(default_factory=LevelParameters)
