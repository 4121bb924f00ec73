"""When each kind of incident opens and closes by default, each number with its source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from detection.engine.fields import number
from detection.engine.policy.events import EventType


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
    # labelled recordings, and chewing moves lips too. Speech of a second and a half holds for two: its mean lingers.
    EventType.SPEECH_OFF_CAMERA: _rule(0.5, 0.35, hold_s=2.0, release_s=2.0, severity=0.6, enabled=False),
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
