"""What each section of a policy means, for the people who set it: unit and direction of every number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_TIMES = (
    "It must hold for <b>hold</b> seconds to open an incident and be calm for <b>release</b> seconds to "
    "close it; then nothing of the kind opens for <b>cooldown</b> seconds. <b>Severity</b> is the weight, "
    "0 to 1; edited later, the risk scores of sessions that are over follow."
)

_TOLD = f"Leave enter and exit at 1. {_TIMES}"

DESCRIPTIONS: Final[Mapping[str, str]] = {
    "rules.NO_FACE": (
        "Nobody is in view: the number of faces, doubtful ones included, is <b>below enter</b>, and calm "
        f"again at exit or more. {_TIMES}"
    ),
    "rules.MULTIPLE_PERSONS": (
        "More than one person is in view: the number of faces beyond doubt and of people whose face is not seen "
        f"is <b>enter or more</b>, and calm again below exit. {_TIMES}"
    ),
    "rules.FACE_MISMATCH": (
        "Somebody else is in view: the similarity with the enrolled face, 0 to 1, is <b>below enter</b>, "
        f"and calm again at exit or more. A higher number accuses sooner. {_TIMES}"
    ),
    "rules.HEAD_TURNED": (
        "The head is turned away: degrees from how this candidate usually holds it are <b>enter or more</b>, and calm "
        f"again below exit. A lower number reports sooner. {_TIMES}"
    ),
    "rules.GAZE_OFF_SCREEN": (
        "The eyes look past the screen: degrees from where this candidate usually looks are <b>enter or more</b>, and "
        f"calm again below exit. A lower number reports sooner. {_TIMES}"
    ),
    "rules.PHONE": (
        "A phone is in view: the score that two of the last four looks agree on, 0 to 1, is <b>enter or more</b>, and "
        f"calm again below exit. A lower number reports more phones, and more that are none. {_TIMES}"
    ),
    "rules.BOOK": (
        "A book is in view below the height of the chin: the score that two of the last four looks agree on, 0 to 1, "
        f"is <b>enter or more</b>, and calm again below exit. {_TIMES}"
    ),
    "rules.SECOND_SCREEN": (
        "A laptop or a screen is in view: the score that two of the last four looks agree on, 0 to 1, is "
        f"<b>enter or more</b>, and calm again below exit. {_TIMES}"
    ),
    "rules.LEFT_SEAT": (
        "The candidate is away from the seat, with the face still in view: the distance in widths of their shoulders "
        f"is <b>enter or more</b>, and calm again below exit. {_TIMES}"
    ),
    "rules.HAND_TO_FACE": (
        "A hand is at the face: the distance in widths of the face is <b>below enter</b>, and calm again at exit or "
        f"more. A chin that rests on a hand is one too. {_TIMES}"
    ),
    "rules.BODY_MOVEMENT": (
        "The candidate is restless: movement as a multiple of what is usual for them is <b>enter or more</b>, and calm "
        f"again below exit. {_TIMES}"
    ),
    "rules.SPEECH_OFF_CAMERA": (
        "Speech is heard while the candidate's lips are still: the share of speech less the lips' movement, 0 to 1, is "
        f"<b>enter or more</b>, and calm again below exit. {_TIMES}"
    ),
    "rules.LIPS_MOVING": (
        "The lips move and nothing is heard: their movement less the speech heard, 0 to 1, is <b>enter or more</b>, "
        f"and calm again below exit. Chewing looks the same. {_TIMES}"
    ),
    "rules.FACE_PARTIAL": (
        "The face is cut off by the picture's edge: the share of it inside the picture, 0 to 1, is <b>below enter</b>, "
        f"and calm again at exit or more. {_TIMES}"
    ),
    "rules.FACE_TOO_FAR": (
        "The face is too small to be compared well: its width in pixels is <b>below enter</b>, and calm again at exit "
        f"or more. {_TIMES}"
    ),
    "rules.IDENTITY_UNSURE": (
        "Technical: a face is there, and whose cannot be told, for instance in the dark. The seconds without knowing "
        f"are <b>enter or more</b>; <b>hold</b> is the time that matters. {_TIMES}"
    ),
    "rules.SPEECH_DETECTED": (
        "Somebody speaks: the share of speech in a window of sound, 0 to 1, is <b>enter or more</b>, and "
        f"calm again below exit. A lower number reports sooner. {_TIMES}"
    ),
    "rules.MULTIPLE_SPEAKERS": (
        "More than one person speaks: the seconds of a second voice in the last thirty are <b>enter or more</b>, and "
        f"calm again below exit. A lower number reports sooner. {_TIMES}"
    ),
    "rules.KEYWORD_SPOKEN": (
        "One of the words is said that the detector transcript looks for: the number of different ones in ten seconds "
        f"is <b>enter or more</b>, and calm again below exit. Leave hold at 0. {_TIMES}"
    ),
    "rules.UNKNOWN_VOICE": (
        "Another voice speaks than the one learnt in the session: the comparison score (cosine), -1 to 1, is <b>below "
        f"enter</b> in two comparisons, and calm again at exit or more. A higher number accuses sooner. {_TIMES}"
    ),
    "rules.WHISPER": (
        "Somebody whispers: the share of a window's sound that is speech without any pitch is <b>enter or more</b> in "
        f"three windows together, and calm again below exit. Measured on generated whispers alone. {_TIMES}"
    ),
    "rules.NOTIFICATION_SOUND": (
        "A sound like that of a telephone's notification: the share of its power in a few steady tones is <b>enter or "
        f"more</b>, and calm again below exit. Measured mostly on generated sounds. {_TIMES}"
    ),
    "rules.LOOPED_AUDIO": (
        "The sound repeats itself, as a recording played in a loop does: the seconds on end that are what was before "
        f"are <b>enter or more</b>, and calm again below exit. {_TIMES}"
    ),
    "rules.CONNECTION_LOST": (
        f"Technical: the candidate's connection is gone (1) or stands (0); leave enter and exit at 1. {_TIMES}"
    ),
    "rules.CAMERA_LOST": (
        "Technical: the connection stands but no picture comes (1) or one does (0); leave enter and exit "
        f"at 1. {_TIMES}"
    ),
    "rules.MICROPHONE_SILENT": (
        "Technical: the loudness in dBFS, -120 (nothing) to 0 (as loud as can be), is <b>below enter</b>, "
        f"and calm again at exit or more. {_TIMES}"
    ),
    "rules.PRESENTATION_ATTACK": (
        "A print, a screen or a recording instead of a person: the evidence gathered over the last seconds, 0 to 1, is "
        f"<b>enter or more</b>, and calm again below exit. A lower number accuses sooner. {_TIMES}"
    ),
    "rules.CHALLENGE_FAILED": (
        "A challenge at check-in was begun and movements were not seen in time: their number is <b>enter or more</b>. "
        "Off by default: light, distance and stiff necks fail it too. Whoever does not begin one, or breaks it off, is "
        f"never reported. {_TIMES}"
    ),
    "rules.CAMERA_COVERED": (
        "Technical: the lens is covered: the detail in the picture relative to its brightness, 0 to 1, is <b>below "
        f"enter</b>, and calm again at exit or more. {_TIMES}"
    ),
    "rules.CAMERA_STATIC": (
        "Technical: the picture stands still although somebody is in it: for <b>enter or more</b> seconds nothing has "
        f"changed. Leave exit at the same number. {_TIMES}"
    ),
    "rules.LOW_LIGHT": (
        "Technical: it is too dark: the brightness of the face, or without one of the brighter parts, 0 to 255, is "
        f"<b>below enter</b>, and calm again at exit or more. {_TIMES}"
    ),
    "rules.BLURRED": (
        "Technical: nothing is sharp: the steepness of the sharpest edges, 0 to 2, is <b>below enter</b>, and calm "
        f"again at exit or more. {_TIMES}"
    ),
    "rules.TAB_HIDDEN": f"The exam's page is hidden behind another tab or window (1) or seen (0). {_TOLD}",
    "rules.WINDOW_BLUR": (
        f"Another window or program has the focus (1) or the exam's page has it (0); a hidden page explains it. {_TOLD}"
    ),
    "rules.FULLSCREEN_EXIT": f"The exam's page has left the full screen that it had (1) or not (0). {_TOLD}",
    "rules.CLIPBOARD": (
        "Something is copied, cut or pasted in the exam's page. It is a moment: uses less than <b>release</b> seconds "
        "apart are one incident; leave enter and exit at 1 and hold at 0."
    ),
    "rules.SECOND_DISPLAY": f"The computer has more than one display (1) or not (0), where the browser tells. {_TOLD}",
    "rules.VIRTUAL_CAMERA": (
        "The camera in use bears the name of a program that can play recordings (1), of one that usually hands on a "
        "real camera's picture, from a telephone or with another background (0.5), or of none that is known (0). With "
        "<b>enter</b> and <b>exit</b> at 0.5 both kinds are reported. Names can be changed: it proves nothing, either "
        f"way. {_TIMES}"
    ),
    "check_in": (
        "Once the camera is live, the candidate's page offers a challenge: so many movements of the head in a drawn "
        "order, each within <b>step</b> seconds. Nobody has to take it, and nobody is held up by it; what became of it "
        "is shown with the session. Switch it off, or give more time, for candidates who cannot move so, by an "
        "accommodation."
    ),
    "page": (
        "<b>In front</b>: the candidate's page must stay in front, full screen, as when the exam is sat on paper or "
        "aloud; then the page itself reports that it is hidden or left. Off: the exam is sat in another tab or window, "
        "and only its own page can report that."
    ),
    "sampling": (
        "What is looked at: pictures per second of video, and the length in seconds of each window of "
        "sound. More pictures find short things and need more computing."
    ),
    "detectors.faces": (
        "The model's certainty, 0 to 1: from <b>min score</b> on a face is possibly there and keeps "
        "NO_FACE from opening; from <b>sure score</b> on it counts as a person for MULTIPLE_PERSONS."
    ),
    "detectors.identity": (
        "The face is compared at least every <b>interval</b> seconds, in doubt in every picture. In a face "
        "smaller than <b>min face</b> (pixels), darker than <b>min brightness</b> (0 to 255), with less "
        "than <b>min contrast</b> (grey values), turned further than <b>max turn</b> (degrees), or having kept less "
        "than <b>least clarity</b> of its likeness (0 to 1), a low similarity says nothing. Below <b>clear from</b> it "
        "must be the lower the less clear the face. Several pictures must have <b>pooled clarity</b> together before "
        "they count against the candidate."
    ),
    "detectors.landmarks": ("Whether the points of the largest face are found; head pose and gaze need them."),
    "detectors.head_pose": ("Whether the head's angles are measured."),
    "detectors.gaze": (
        "Whether the line of sight is measured. Within <b>screen</b> degrees of where the candidate usually looks it "
        "is the screen; further off the direction is named."
    ),
    "detectors.mouth": ("Whether the mouth is measured; SPEECH_OFF_CAMERA and LIPS_MOVING need it."),
    "detectors.objects": (
        "People, phones, books, laptops and screens are looked for every <b>interval</b> seconds. The model's "
        "certainty, 0 to 1: from <b>min score</b> on a thing counts as seen in one picture; from <b>person score</b> "
        "on somebody whose face is not seen counts for MULTIPLE_PERSONS."
    ),
    "detectors.body": (
        "Shoulders and hands are measured every <b>interval</b> seconds; LEFT_SEAT, HAND_TO_FACE and BODY_MOVEMENT "
        "need them."
    ),
    "detectors.speech": (
        "From this probability on, 0 to 1, a piece of sound of 32 ms counts as speech; the mean over 0.3 seconds is "
        "compared. A lower number finds quieter speech and more noise."
    ),
    "detectors.speakers": (
        "While somebody speaks, a second voice is looked for each <b>interval</b> seconds in the ten before; "
        "MULTIPLE_SPEAKERS and UNKNOWN_VOICE need it."
    ),
    "detectors.whisper": (
        "Speech of which at most the share <b>max voiced</b> has a pitch is whispered; it is looked at only where the "
        "rule WHISPER is on."
    ),
    "detectors.tones": "Whether sounds of notifications are sought, where the rule NOTIFICATION_SOUND is on.",
    "detectors.sounds": "Whether the sound's fingerprint is taken; LOOPED_AUDIO needs it.",
    "detectors.transcript": (
        "Off unless you ask for it, and candidates are told. While somebody speaks, ten seconds are written down every "
        "<b>interval</b> seconds and <b>keywords</b> looked for in them, one word or phrase a line: whole words, "
        "whatever their case and accents; name numbers as words and as digits. The text is kept with the incident "
        "where one is found, and else nowhere. A machine mishears, whispers and dialects above all: read the text as a "
        "hint. It needs an optional package and weights, see the operations manual."
    ),
    "detectors.voice": (
        "While somebody speaks alone, the voice is compared each <b>interval</b> seconds with the one learnt in the "
        "session, which UNKNOWN_VOICE needs; two voices are compared wherever they are heard, so that one person is "
        "not taken for two. This is biometric."
    ),
    "detectors.camera": (
        "Whether the picture itself is measured; CAMERA_COVERED, CAMERA_STATIC, LOW_LIGHT and BLURRED need it. <b>Find "
        "loops</b>: whether a stretch of pictures that comes again exactly counts as PRESENTATION_ATTACK."
    ),
    "detectors.liveness": (
        "The face is looked at every <b>interval</b> seconds for signs of a print or a screen. A face smaller than "
        "<b>min face</b> (pixels), turned further than <b>max turn</b> (degrees), darker than <b>min brightness</b> (0 "
        "to 255) or less sharp than <b>min sharpness</b> decides nothing. Looks of <b>window</b> seconds are weighed "
        "together."
    ),
    "detectors.level": ("Whether loudness is measured; MICROPHONE_SILENT needs it."),
    "": (
        "<b>Lateness</b>: seconds to wait for samples that are late. <b>Gap</b>: after a pause longer "
        "than this many seconds the time between counts as not looked at, and behaviour incidents end at "
        "the last sample before it."
    ),
}
"""By section of the policy document, such as ``rules.NO_FACE``. HTML, written here alone."""
