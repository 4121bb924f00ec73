"""The policy document: which rules run, with which thresholds, times and weights, as plain data.

A policy is stored as JSON, edited by people and overridden per session, so ``Policy.from_dict`` checks every field and
says what is wrong with it by path (``rules.NO_FACE.hold_s: must be a number from 0 to 600``). What a document leaves
out has its default, so a document written before a detector existed stays valid.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from detection.engine.fields import FieldErrors, number, read_fields, words


class PolicyError(ValueError):
    """A policy document that cannot be used. ``errors`` maps the path of each bad field to what is wrong with it."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in errors.items()))
        self.errors = errors


class EventType(enum.StrEnum):
    """What an incident can be about."""

    NO_FACE = "NO_FACE"
    MULTIPLE_PERSONS = "MULTIPLE_PERSONS"
    FACE_MISMATCH = "FACE_MISMATCH"
    FACE_PARTIAL = "FACE_PARTIAL"
    FACE_TOO_FAR = "FACE_TOO_FAR"
    IDENTITY_UNSURE = "IDENTITY_UNSURE"
    HEAD_TURNED = "HEAD_TURNED"
    GAZE_OFF_SCREEN = "GAZE_OFF_SCREEN"
    PHONE = "PHONE"
    BOOK = "BOOK"
    SECOND_SCREEN = "SECOND_SCREEN"
    LEFT_SEAT = "LEFT_SEAT"
    HAND_TO_FACE = "HAND_TO_FACE"
    BODY_MOVEMENT = "BODY_MOVEMENT"
    SPEECH_OFF_CAMERA = "SPEECH_OFF_CAMERA"
    LIPS_MOVING = "LIPS_MOVING"
    WHISPER = "WHISPER"
    SPEECH_DETECTED = "SPEECH_DETECTED"
    MULTIPLE_SPEAKERS = "MULTIPLE_SPEAKERS"
    UNKNOWN_VOICE = "UNKNOWN_VOICE"
    LOOPED_AUDIO = "LOOPED_AUDIO"
    NOTIFICATION_SOUND = "NOTIFICATION_SOUND"
    KEYWORD_SPOKEN = "KEYWORD_SPOKEN"
    CONNECTION_LOST = "CONNECTION_LOST"
    CAMERA_LOST = "CAMERA_LOST"
    MICROPHONE_SILENT = "MICROPHONE_SILENT"
    TAB_HIDDEN = "TAB_HIDDEN"
    WINDOW_BLUR = "WINDOW_BLUR"
    FULLSCREEN_EXIT = "FULLSCREEN_EXIT"
    CLIPBOARD = "CLIPBOARD"
    SECOND_DISPLAY = "SECOND_DISPLAY"
    VIRTUAL_CAMERA = "VIRTUAL_CAMERA"
    PRESENTATION_ATTACK = "PRESENTATION_ATTACK"
    CHALLENGE_FAILED = "CHALLENGE_FAILED"
    CAMERA_COVERED = "CAMERA_COVERED"
    CAMERA_STATIC = "CAMERA_STATIC"
    LOW_LIGHT = "LOW_LIGHT"
    BLURRED = "BLURRED"


TECHNICAL_EVENTS = frozenset(
    {
        EventType.CONNECTION_LOST,
        EventType.CAMERA_LOST,
        EventType.MICROPHONE_SILENT,
        EventType.CAMERA_COVERED,
        EventType.CAMERA_STATIC,
        EventType.LOW_LIGHT,
        EventType.BLURRED,
        EventType.IDENTITY_UNSURE,
    }
)
"""About connection and equipment: never part of a behaviour score."""

BROWSER_EVENTS = frozenset(
    {
        EventType.TAB_HIDDEN,
        EventType.WINDOW_BLUR,
        EventType.FULLSCREEN_EXIT,
        EventType.CLIPBOARD,
        EventType.SECOND_DISPLAY,
        EventType.VIRTUAL_CAMERA,
    }
)
"""What the exam's page tells of itself. Nothing is measured: it is so (1) or it is not (0).

``VIRTUAL_CAMERA`` has something between: 0.5 for programs that usually hand on a real camera's picture."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What a rule's thresholds are measured in: the range, and on which side of them the trouble lies."""

    low: float
    high: float
    below: bool
    """True: trouble is a value *below* ``enter``. False: a value of at least ``enter``."""


SCALES: Mapping[EventType, Scale] = {
    EventType.NO_FACE: Scale(0, 100, below=True),  # faces, the doubtful ones included
    EventType.MULTIPLE_PERSONS: Scale(0, 100, below=False),  # faces beyond doubt, and people without a visible face
    EventType.FACE_MISMATCH: Scale(0, 1, below=True),  # similarity
    EventType.FACE_PARTIAL: Scale(0, 1, below=True),  # share of the face inside the picture
    EventType.FACE_TOO_FAR: Scale(0, 1000, below=True),  # the face's width in pixels
    EventType.IDENTITY_UNSURE: Scale(0, 600, below=False),  # seconds without knowing whose face it is
    EventType.HEAD_TURNED: Scale(0, 180, below=False),  # degrees off the head's learnt rest
    EventType.GAZE_OFF_SCREEN: Scale(0, 120, below=False),  # degrees off the gaze's learnt rest
    EventType.PHONE: Scale(0, 1, below=False),  # score that two of the last four looks reached in one place
    EventType.BOOK: Scale(0, 1, below=False),  # the same
    EventType.SECOND_SCREEN: Scale(0, 1, below=False),  # the same
    EventType.LEFT_SEAT: Scale(0, 10, below=False),  # shoulder widths from the learnt seat
    EventType.HAND_TO_FACE: Scale(0, 10, below=True),  # face widths between hand and face
    EventType.BODY_MOVEMENT: Scale(0, 100, below=False),  # times the candidate's own usual movement
    EventType.SPEECH_OFF_CAMERA: Scale(0, 1, below=False),  # share of speech, less the lips' movement
    EventType.LIPS_MOVING: Scale(0, 1, below=False),  # the lips' movement, less heard speech
    EventType.WHISPER: Scale(0, 1, below=False),  # share of an audio window
    EventType.SPEECH_DETECTED: Scale(0, 1, below=False),  # share of an audio window
    EventType.MULTIPLE_SPEAKERS: Scale(0, 30, below=False),  # seconds of a second voice in the last half minute
    EventType.UNKNOWN_VOICE: Scale(-1, 1, below=True),  # cosine with the voice learnt
    EventType.LOOPED_AUDIO: Scale(0, 600, below=False),  # seconds on end that repeat what was before
    EventType.NOTIFICATION_SOUND: Scale(0, 1, below=False),  # share of the sound in steady tones
    EventType.KEYWORD_SPOKEN: Scale(0, 50, below=False),  # different keywords in what was said
    EventType.CONNECTION_LOST: Scale(0, 1, below=False),  # 1: lost
    EventType.CAMERA_LOST: Scale(0, 1, below=False),  # 1: stopped
    EventType.MICROPHONE_SILENT: Scale(-120, 0, below=True),  # dBFS
    EventType.PRESENTATION_ATTACK: Scale(0, 1, below=False),  # pooled evidence
    EventType.CHALLENGE_FAILED: Scale(0, 5, below=False),  # movements asked for at check-in that were not seen
    EventType.CAMERA_COVERED: Scale(0, 1, below=True),  # detail relative to brightness
    EventType.CAMERA_STATIC: Scale(0, 3600, below=False),  # seconds without change
    EventType.LOW_LIGHT: Scale(0, 255, below=True),  # grey value of the face, or of the brighter parts
    EventType.BLURRED: Scale(0, 2, below=True),  # steepness of the steepest edges
} | {event: Scale(0, 1, below=False) for event in sorted(BROWSER_EVENTS)}


@dataclass(frozen=True, slots=True)
class RulePolicy:
    """When one kind of incident opens and closes.

    The measure must reach ``enter`` and stay beyond ``exit`` for ``hold_s`` before an incident opens, and stay on the
    calm side of ``exit`` for ``release_s`` before it closes. Which side is beyond depends on the event type, see
    ``SCALES``. After closing, nothing of the kind opens for ``cooldown_s``. ``severity`` is the incident's weight.
    """

    enabled: bool
    enter: float
    exit: float
    hold_s: float = number(low=0, high=600)
    release_s: float = number(low=0, high=600)
    cooldown_s: float = number(low=0, high=3600)
    severity: float = number(low=0, high=1)


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


def _rule(
    enter: float, exit_: float, *, hold_s: float, release_s: float, severity: float, enabled: bool = True
) -> RulePolicy:
    return RulePolicy(enabled, enter, exit_, hold_s=hold_s, release_s=release_s, cooldown_s=0.0, severity=severity)


DEFAULT_RULES: Mapping[EventType, RulePolicy] = {
    # A sneeze, a look under the desk or a hand before the face hides it for a second or two; leaving takes longer.
    EventType.NO_FACE: _rule(1, 1, hold_s=3.0, release_s=1.5, severity=0.6),
    # Three frames in a row at two a second: a false second face does not stay in place that long.
    EventType.MULTIPLE_PERSONS: _rule(2, 2, hold_s=1.5, release_s=2.0, severity=0.8),
    # 0.75 is the similarity at SFace's published operating point (see detectors.identity) and FACE_MATCH_THRESHOLD.
    EventType.FACE_MISMATCH: _rule(0.75, 0.75, hold_s=2.0, release_s=2.0, severity=0.9),
    # Of a whole face at the edge 0.9 and more lies inside; with a third of it cut off 0.6 to 0.75. Leaning aside to
    # pick something up takes less than four seconds.
    EventType.FACE_PARTIAL: _rule(0.72, 0.8, hold_s=4.0, release_s=2.0, severity=0.3),
    # At 16 pixels a person's own score often falls among strangers'; at 24 it rarely does, see likeness.
    EventType.FACE_TOO_FAR: _rule(20, 24, hold_s=5.0, release_s=2.0, severity=0.3),
    # Half a minute of poor light or blur is worth telling; the camera may still be finding its focus before that.
    EventType.IDENTITY_UNSURE: _rule(1, 1, hold_s=30.0, release_s=0.0, severity=0.2),
    # A laptop's screen seen from 60 cm reaches 17 degrees to each side, and people turn half of that with the head:
    # beyond 25 it is something else. Glances, scratching and stretching last a second or two.
    EventType.HEAD_TURNED: _rule(25, 20, hold_s=3.0, release_s=1.5, severity=0.4),
    # A 15-inch screen from 60 cm reaches 16 degrees to each side and 18 into its corners, and gaze_line grants larger
    # ones what they are larger. A glance at a clock is shorter.
    EventType.GAZE_OFF_SCREEN: _rule(18, 14, hold_s=1.5, release_s=1.0, severity=0.4),
    # At 0.35 half of the phones found were false; at 0.5 in two of four looks the webcam clips at hand show none. A
    # phone that is put away leaves the four looks after six seconds.
    EventType.PHONE: _rule(0.5, 0.4, hold_s=1.5, release_s=2.0, severity=0.7),
    EventType.BOOK: _rule(0.5, 0.4, hold_s=1.5, release_s=2.0, severity=0.4),
    # A laptop or screen in the room is no offence; whether it is used the picture does not tell.
    EventType.SECOND_SCREEN: _rule(0.5, 0.4, hold_s=3.0, release_s=4.0, severity=0.2),
    # A shoulder width is some 40 cm: leaning is less. Four seconds are two looks.
    EventType.LEFT_SEAT: _rule(1.0, 0.7, hold_s=4.0, release_s=2.0, severity=0.3),
    # Off: people rest their chins on their hands for minutes, and the picture does not tell that from a phone at the
    # ear. In 39 portraits a quarter of a face's width tells 8 of 12 hands at the face, and 3 of 27 that are not there.
    EventType.HAND_TO_FACE: _rule(0.25, 0.5, hold_s=10.0, release_s=4.0, severity=0.1, enabled=False),
    # Off: fidgeting is no offence, and there are no labelled recordings of it. Four times the candidate's usual.
    EventType.BODY_MOVEMENT: _rule(4.0, 2.5, hold_s=10.0, release_s=4.0, severity=0.1, enabled=False),
    # Both off: how well still lips and heard speech go together at two frames a second has not been measured on
    # labelled recordings, and chewing moves lips too.
    EventType.SPEECH_OFF_CAMERA: _rule(0.5, 0.35, hold_s=3.0, release_s=2.0, severity=0.6, enabled=False),
    EventType.LIPS_MOVING: _rule(0.7, 0.5, hold_s=4.0, release_s=2.0, severity=0.2, enabled=False),
    # Off: no recordings of people who whisper could be had. Three seconds on end, since single ones of ordinary speech
    # have no pitch either.
    EventType.WHISPER: _rule(0.25, 0.25, hold_s=2.0, release_s=3.0, severity=0.5, enabled=False),
    # Half a second of speech in a second; a cough or one word does not hold. People pause up to two seconds.
    EventType.SPEECH_DETECTED: _rule(0.5, 0.35, hold_s=1.0, release_s=2.0, severity=0.4),
    # A second voice for a second in half a minute; a short word at once with the first may be a mistake of hearing.
    EventType.MULTIPLE_SPEAKERS: _rule(1.0, 0.3, hold_s=0.0, release_s=5.0, severity=0.7),
    # Of 50 comparisons of one person far from the microphone one came below 0.25, of 223 of two people all but three.
    # Off: voices are biometric, and a consent to comparing faces does not cover them.
    EventType.UNKNOWN_VOICE: _rule(0.25, 0.35, hold_s=0.0, release_s=5.0, severity=0.6, enabled=False),
    # In 18 minutes of live rooms, meetings and steady noises nothing was alike for more than two seconds on end.
    EventType.LOOPED_AUDIO: _rule(6.0, 3.0, hold_s=0.0, release_s=5.0, severity=0.7),
    # Off: in five minutes of meetings one sound was taken for a notification, and few real ones could be had.
    EventType.NOTIFICATION_SOUND: _rule(0.6, 0.6, hold_s=0.0, release_s=2.0, severity=0.3, enabled=False),
    # It says something only where the policy names words. Ten seconds are heard every five, so that one word is heard
    # twice: within ten seconds it is one incident.
    EventType.KEYWORD_SPOKEN: _rule(1, 1, hold_s=0.0, release_s=10.0, severity=0.6),
    # WebRTC recovers from most losses within two seconds by itself.
    EventType.CONNECTION_LOST: _rule(1, 1, hold_s=2.0, release_s=0.0, severity=0.3),
    EventType.CAMERA_LOST: _rule(1, 1, hold_s=2.0, release_s=0.0, severity=0.3),
    # A live microphone's own noise is -75 dBFS and louder; a muted one gives digital silence. Browsers' noise
    # suppression reaches -80 in quiet rooms for seconds at a time.
    EventType.MICROPHONE_SILENT: _rule(-80, -75, hold_s=10.0, release_s=1.0, severity=0.2),
    # A slip of the hand is mended within a second; looking something up takes longer. Going to and fro is one incident.
    EventType.TAB_HIDDEN: _rule(1, 1, hold_s=1.0, release_s=3.0, severity=0.5),
    # Notifications, the browser's own questions and the system's volume sign take the focus for a second or two.
    EventType.WINDOW_BLUR: _rule(1, 1, hold_s=3.0, release_s=3.0, severity=0.3),
    # Escape pressed by mistake, and back again by the page's button.
    EventType.FULLSCREEN_EXIT: _rule(1, 1, hold_s=3.0, release_s=1.0, severity=0.3),
    # A moment. Copying here and pasting there shortly after is one incident.
    EventType.CLIPBOARD: _rule(1, 1, hold_s=0.0, release_s=10.0, severity=0.4),
    # Displays come and go for seconds when a computer wakes up or a cable moves.
    EventType.SECOND_DISPLAY: _rule(1, 1, hold_s=5.0, release_s=5.0, severity=0.3),
    # A program that can play recordings; with 0.5 those that hand on a telephone's or an improved picture count too.
    EventType.VIRTUAL_CAMERA: _rule(1, 1, hold_s=1.0, release_s=1.0, severity=0.4),
    # Half is undecided. What it is read from was gathered over eight seconds and more.
    EventType.PRESENTATION_ATTACK: _rule(0.65, 0.5, hold_s=2.0, release_s=5.0, severity=0.9),
    # Off: how often people who are there fail it has not been measured on people, and some cannot turn their heads.
    EventType.CHALLENGE_FAILED: _rule(1, 1, hold_s=0.0, release_s=0.0, severity=0.2, enabled=False),
    # Photographs and clips have 0.2 and more; a hand, tape or a closed shutter before the lens far less.
    EventType.CAMERA_COVERED: _rule(0.05, 0.07, hold_s=2.0, release_s=1.0, severity=0.4),
    # A person in view moves; what does not change by half a grey value for so long is no live picture.
    EventType.CAMERA_STATIC: _rule(15, 15, hold_s=1.0, release_s=0.0, severity=0.4),
    # Below, faces are found less often and few are compared. Automatic exposure takes some seconds when lights go out.
    EventType.LOW_LIGHT: _rule(35, 45, hold_s=5.0, release_s=2.0, severity=0.1),
    # Sharp photographs have 0.8 and more; blurred by four pixels of 640, where comparison scores falter, 0.65.
    EventType.BLURRED: _rule(0.62, 0.68, hold_s=5.0, release_s=2.0, severity=0.1),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole, checked policy."""

    rules: Mapping[EventType, RulePolicy] = field(default_factory=lambda: dict(DEFAULT_RULES))
    sampling: Sampling = field(default_factory=Sampling)
    detectors: Detectors = field(default_factory=Detectors)
    page: Page = field(default_factory=Page)
    check_in: CheckIn = field(default_factory=CheckIn)
    lateness_s: float = number(1.0, low=0, high=10)
    """How long the rules wait for a sample that is missing, so that what arrives out of order still counts."""
    gap_s: float = number(5.0, low=1, high=60)
    """A stream that pauses longer than this was not watched meanwhile: what it had open ends at the last sample."""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able document that ``from_dict`` reads."""
        return {
            "rules": {event.value: dataclasses.asdict(rule) for event, rule in self.rules.items()},
            "sampling": dataclasses.asdict(self.sampling),
            "detectors": dataclasses.asdict(self.detectors, dict_factory=_json_able),
            "page": dataclasses.asdict(self.page),
            "check_in": dataclasses.asdict(self.check_in),
            "lateness_s": self.lateness_s,
            "gap_s": self.gap_s,
        }

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Policy:
        """Build from a document; raise ``PolicyError`` naming every field that is wrong, missing ones have defaults."""
        errors: FieldErrors = {}
        policy = _read_policy(document, errors)
        if errors:
            raise PolicyError(errors)
        return policy


def _json_able(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary in which tuples are lists, as JSON gives them back."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in items}


_RETIRED_IDENTITY = frozenset({"min_strength", "min_clarity", "clear_strength", "clear_clarity", "unclear_mismatch"})
"""Limits that ``least_clarity`` and ``clear_from`` took the place of."""


def _read_policy(document: Any, errors: FieldErrors) -> Policy:
    if not isinstance(document, Mapping):
        errors["policy"] = "must be an object"
        return DEFAULT_POLICY
    others = {key: value for key, value in document.items() if key != "rules"}
    policy = read_fields(DEFAULT_POLICY, _without_retired(others), "", errors)
    return dataclasses.replace(policy, rules=_read_rules(document.get("rules", {}), errors))


def _without_retired(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what older versions had, so that documents stored by them stay valid."""
    detectors = document.get("detectors")
    if not isinstance(detectors, Mapping) or not isinstance(detectors.get("identity"), Mapping):
        return document
    identity = {key: value for key, value in detectors["identity"].items() if key not in _RETIRED_IDENTITY}
    return {**document, "detectors": {**detectors, "identity": identity}}


def _read_rules(section: Any, errors: FieldErrors) -> dict[EventType, RulePolicy]:
    rules = dict(DEFAULT_RULES)
    if not isinstance(section, Mapping):
        errors["rules"] = "must be an object"
        return rules
    for name, values in section.items():
        if name not in rules:
            errors[f"rules.{name}"] = f"is no event type; there are {', '.join(rules)}"
            continue
        event = EventType(name)
        rules[event] = read_fields(rules[event], values, f"rules.{name}", errors, ranges=_threshold_ranges(event))
        _check_sides(event, rules[event], errors)
    return rules


def _threshold_ranges(event: EventType) -> dict[str, tuple[float, float]]:
    scale = SCALES[event]
    return {"enter": (scale.low, scale.high), "exit": (scale.low, scale.high)}


def _check_sides(event: EventType, rule: RulePolicy, errors: FieldErrors) -> None:
    """Refuse an ``exit`` that lies deeper in trouble than ``enter``: the incident would close as it opens."""
    if SCALES[event].below and rule.exit < rule.enter:
        errors.setdefault(f"rules.{event}.exit", f"must be at least enter ({rule.enter:g})")
    if not SCALES[event].below and rule.exit > rule.enter:
        errors.setdefault(f"rules.{event}.exit", f"must be at most enter ({rule.enter:g})")


def merge(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``document`` with ``overrides`` laid over it, section by section; neither is changed.

    Objects are merged key by key, everything else is replaced. The result is not checked: ``Policy.from_dict`` does.
    ``overrides`` that are no object raise ``PolicyError``.
    """
    if not isinstance(overrides, Mapping):
        raise PolicyError({"policy": "must be an object"})
    merged = dict(document)
    for key, value in overrides.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


DEFAULT_POLICY = Policy()
