// Every English sentence of the page, in one place. {name} is filled in by `text`.

export const CONSENT_VERSION = "2026-11-3-en";
export const LOCALE = "en";

const STRINGS = {
  "loading.title": "Opening your session…",

  "stopped.retry": "Try again",
  "stopped.incomplete.title": "This link is not complete",
  "stopped.incomplete.text":
    "Open the whole link that you were given, in this browser. If you copied it, the part after the # sign belongs to it.",
  "stopped.invalid.title": "This link does not open a session",
  "stopped.invalid.text": "It may have been cut short, or it belongs to another session. Ask for a new link.",
  "stopped.expired.title": "This link has expired",
  "stopped.expired.text": "Ask the organisation that invited you for a new link.",
  "stopped.ended.title": "Your session has ended",
  "stopped.ended.text": "Camera and microphone are off, and nothing is sent any more. You can close this tab.",
  "stopped.unreachable.title": "We cannot reach the exam service",
  "stopped.unreachable.text": "Check your internet connection, then try again.",
  "stopped.replaced.title": "Your session continues elsewhere",
  "stopped.replaced.text":
    "It was opened a second time, in another tab or on another device, and your picture is sent from there now. " +
    "To continue here instead, choose Try again.",
  "stopped.declined.title": "You did not agree",
  "stopped.declined.text":
    "Nothing was taken and nothing was sent; camera and microphone are off again. Please contact {organisation}, and ask for " +
    "a check by a person instead. You can close this page.",
  "stopped.declinedLater.title": "You did not agree",
  "stopped.declinedLater.text":
    "The pictures that you took were not kept, and nothing more is sent; camera and microphone are off again. Please contact " +
    "{organisation}, and ask for a check by a person instead. You can close this page.",
  "stopped.withdrawn.title": "You have withdrawn your consent",
  "stopped.withdrawn.text":
    "The session has ended, camera and microphone are off, and nothing is compared any more. Please contact {organisation} to " +
    "sit the exam another way, or to have your template and what was kept erased. You can close this page.",
  "stopped.back": "Go back",
  "stopped.insecure.title": "This address is not secure",
  "stopped.insecure.text":
    "Browsers give the camera only to pages whose address begins with https (or is on this very computer). Ask for a link that does.",
  "stopped.unsupported.title": "This browser cannot take part",
  "stopped.unsupported.text": "Please use a current Chrome, Edge, Firefox or Safari.",

  "welcome.title": "Before you start",
  "welcome.why":
    "Your exam is watched by camera and microphone, so that everybody who sits it can rely on the same rules. " +
    "Your browser will ask whether this page may use both.",
  "welcome.camera": "The camera shows that you are there, and alone.",
  "welcome.microphone": "The microphone hears whether somebody talks in the room.",
  "welcome.nothing": "Nothing is sent until you press a button that says so.",
  "welcome.allow": "Allow camera and microphone",
  "welcome.asking": "Waiting for your answer to the browser’s question…",

  "device.denied.title": "The browser was not allowed to use camera or microphone",
  "device.denied.text":
    "Choose the camera sign in the browser’s address bar, allow both, and press the button again. On a Mac, also look into " +
    "System Settings → Privacy & Security.",
  "device.noCamera.title": "No camera was found",
  "device.noCamera.text": "Plug one in, or switch it on, and press the button again.",
  "device.noMicrophone.title": "No microphone was found",
  "device.noMicrophone.text": "Plug one in, or switch it on, and press the button again.",
  "device.busy.title": "Camera or microphone are in use",
  "device.busy.text": "Close other programs that use them, such as video calls, and press the button again.",
  "device.other.title": "Camera and microphone could not be opened",
  "device.other.text": "Your browser says: {reason}. Unplug the camera, plug it in again, and press the button again.",

  "room.title.check": "Look at yourself",
  "room.title.live": "Your session is running",
  "room.text.check": "Sit so that your whole face is seen and lit from the front. You see yourself as in a mirror.",
  "room.text.live": "You can turn to your exam now. Keep this tab open until the end.",
  "room.text.front":
    "Your exam begins. Keep this page in front, full screen, until the end: when it is hidden, or left for another window, that is noted.",
  "room.preview": "Your own camera picture, mirrored",
  "room.camera": "Camera",
  "room.microphone": "Microphone",
  "room.camera.on": "On",
  "room.camera.off": "Gives no picture. Is it covered or unplugged?",
  "room.microphone.on": "Hears you",
  "room.microphone.quiet": "Quiet",
  "room.microphone.off": "Gives no sound. Is it switched off?",

  "enrol.title": "So that we know you",
  "enrol.why":
    "Three pictures of your face are turned into a code, and the pictures are thrown away. During the exam the code tells " +
    "whether it is still you who sits there.",
  "enrol.consentLabel": "What you agree to",
  "enrol.consentText":
    "I agree that this service makes a biometric template (a code of numbers) of my face from three pictures, keeps it " +
    "encrypted, and compares it with my camera picture while my exam is running, to tell whether I am the person who sits it. The " +
    "pictures themselves are not kept. I can withdraw this at any time: on this page, which ends the session, or by writing to " +
    "{organisation}, who then also destroys the template. If I do not agree, nothing is taken or sent, and I can ask for " +
    "a check by a person instead.",
  "enrol.consent": "I agree",
  "withdraw.title": "I no longer agree that my face or voice is compared",
  "withdraw.text":
    "You can withdraw what you agreed to at any time. This session then ends at once, and nothing is compared any more. What was " +
    "kept until now stays until its time is over; to sit the exam another way, or to have everything erased, contact " +
    "the organisation that invited you.",
  "withdraw.button": "Withdraw, and end the session",
  "withdraw.sending": "Withdrawing…",
  "withdraw.failed": "That did not work: {reason} Please try again.",
  "enrol.decline": "I do not agree",
  "enrol.take": "Take and send three pictures",
  "enrol.taking": "Look into the camera, picture {number} of {count}",
  "enrol.sending": "Looking at the pictures…",
  "enrol.needConsent": "Please read the text above and tick “I agree” first.",
  "enrol.again": "Please try once more.",
  "enrol.problem.face_missing": "We could not find a face. Sit before the camera, with light from the front.",
  "enrol.problem.faces_several": "There is more than one face in the picture. Please be alone for this.",
  "enrol.problem.face_too_small": "Your face is rather small. Come a little closer.",
  "enrol.problem.image_blurred": "The picture is blurred. Hold still for a moment, and wipe the lens if need be.",
  "enrol.problem.image_dark": "It is too dark. Switch on a light in front of you.",
  "enrol.problem.image_bright": "The picture is too bright. Turn away from the window, or dim the light a little.",
  "enrol.problem.image_too_large": "The camera’s pictures are too large to be sent. Choose a lower resolution.",
  "enrol.problem.face_turned": "Your face is turned away. Look straight into the camera.",
  "enrol.problem.faces_differ": "The pictures do not seem to show the same person. Please take them again, alone.",
  "enrol.problem.duplicate_suspected": "The pictures cannot be accepted yet: somebody has to look at them first. Please contact your examiner.",
  "enrol.problem.image_invalid": "The picture could not be read. Please take it again.",
  "enrol.problem.workers_unavailable": "The service is busy for a moment. Please try again shortly.",
  "enrol.problem.queue_unavailable": "The service is busy for a moment. Please try again shortly.",
  "enrol.problem.consent_invalid": "The date on your computer seems to be wrong. Please set its clock, then try again.",
  "enrol.problem.unreachable": "The pictures could not be sent. Check your internet connection.",
  "enrol.problem.other": "That did not work: {reason}",

  "ready.known": "Camera and microphone work.",
  "ready.enrolled": "Thank you, the pictures are good.",
  "ready.start": "Start, and send picture and sound",

  "checkIn.offer.title": "A short check, if you like",
  "checkIn.offer.text":
    "We ask you for a few small movements, such as turning your head, so that nobody can hold a photograph or a film before the " +
    "camera in your place. It takes about half a minute. You may leave it out: your exam goes on either way.",
  "checkIn.begin": "Begin the check",
  "checkIn.again": "Try once more",
  "checkIn.skip": "Leave it out",
  "checkIn.stop": "Stop the check",
  "checkIn.close": "Go on with the exam",
  "checkIn.ready.title": "Look straight at the screen",
  "checkIn.ready.text": "Sit as you usually do. The first movement comes in a moment; each one has time enough.",
  "checkIn.step.title": "Movement {number} of {count}",
  "checkIn.step.text": "Hold it for two seconds. If one cannot be seen, we simply go on.",
  "checkIn.seen.title": "Thank you",
  "checkIn.seen.text": "Back to the middle, please.",
  "checkIn.next.title": "Never mind",
  "checkIn.next.text": "That one could not be seen. Back to the middle; we go on.",
  "checkIn.wait.title": "Thank you",
  "checkIn.wait.text": "One moment, we look at the last pictures…",
  "checkIn.passed.title": "Thank you, that was all",
  "checkIn.passed.text": "Every movement was seen. You can turn to your exam now.",
  "checkIn.failed.title": "Not every movement could be seen",
  "checkIn.failed.text":
    "That happens, with little light or from far away. It does not stop your exam, and no computer decides anything by it: at most a " +
    "person has a look. You can try once more, or just go on.",
  "checkIn.failedLast.title": "Not every movement could be seen",
  "checkIn.failedLast.text":
    "That happens, with little light or from far away. It does not stop your exam, and no computer decides anything by it: at most a " +
    "person has a look. You can turn to your exam now.",
  "checkIn.trouble.title": "The check could not begin",
  "checkIn.trouble.text": "The service is busy for a moment. Your exam goes on; you can try again, or leave it out.",
  "checkIn.turn_left": "Turn your head to your left",
  "checkIn.turn_right": "Turn your head to your right",
  "checkIn.look_up": "Lift your head and look up",
  "checkIn.come_closer": "Lean in, closer to the camera",
  "checkIn.open_mouth": "Open your mouth wide",

  "running.live": "You are connected. Picture and sound are being sent.",
  "running.connecting": "Connecting…",
  "running.reconnecting": "The connection broke off. We are trying again; please stay where you are.",
  "running.waiting": "The connection broke off. Next attempt in {seconds} s.",
  "running.offline": "Your computer is offline. The session continues by itself when the network is back.",
  "running.refused": "The exam service did not take the connection ({reason}). We are trying again.",

  "running.toFullScreen": "Back to full screen",
  "running.leftFullScreen": "This page is not full screen any more. That is noted until it is again.",

  "connection.connecting": "Connecting",
  "connection.live": "Connected",
  "connection.reconnecting": "Reconnecting",
  "connection.ended": "Ended",
  "connection.elsewhere": "Elsewhere",

  "organisation.me": "the organisation that invited me",
  "organisation.you": "the organisation that invited you",

  "watched.title": "What is watched, and why",
  "watched.person":
    "The computer only points out moments. Whether they mean anything is decided by a person, never by the computer.",
  "watched.kept":
    "Pictures are kept only from such moments, encrypted, for {days} days. The rest of picture " +
    "and sound is looked at once; only numbers are kept of it.",
  "watched.kept.none": "No picture and no sound is kept: they are looked at once, and only numbers are kept of them.",
  "watched.kept.unlimited":
    "Pictures are kept only from such moments, encrypted, until whoever holds the exam removes them. The rest of " +
    "picture and sound is looked at once; only numbers are kept of it.",
  "watched.NO_FACE": "Whether you are in the picture, because the exam is yours to sit.",
  "watched.MULTIPLE_PERSONS": "Whether you are alone, because nobody may help.",
  "watched.FACE_MISMATCH": "Whether it is still you, so that nobody can sit the exam in your name.",
  "watched.FACE_PARTIAL": "Whether your whole face can be seen, because half a face cannot be recognised.",
  "watched.FACE_TOO_FAR": "Whether you sit near enough to be recognised.",
  "watched.HEAD_TURNED": "Whether your head is turned away for a while, because help could stand beside the screen.",
  "watched.GAZE_OFF_SCREEN": "Whether you look past the screen for a while, for the same reason. A glance does not count.",
  "watched.PHONE": "Whether a phone lies or is held in the picture, because answers could be looked up on it.",
  "watched.BOOK": "Whether a book lies in front of you, because answers could be looked up in it.",
  "watched.SECOND_SCREEN": "Whether another screen is in the picture, because help could be shown there.",
  "watched.LEFT_SEAT": "Whether you move away from where you sit. Leaning and stretching do not count.",
  "watched.HAND_TO_FACE": "If your exam asks for it: whether a hand stays at your face, as with a phone at the ear.",
  "watched.BODY_MOVEMENT": "If your exam asks for it: whether you move much more than you usually do.",
  "watched.LIPS_MOVING": "If your exam asks for it: whether your lips move as if you spoke.",
  "watched.SPEECH_OFF_CAMERA": "If your exam asks for it: whether somebody speaks while your lips are still.",
  "watched.SPEECH_DETECTED": "Whether somebody speaks, because answers could be told. What is said is not written down.",
  "watched.SPEECH_DETECTED.written": "Whether somebody speaks, because answers could be told.",
  "watched.KEYWORD_SPOKEN":
    "Whether certain words are said. This exam’s rules ask for it: while somebody speaks, a machine writes down what is said and looks for them. Where it finds one, what was said in those ten seconds is kept for a person to read; all else is forgotten at once.",
  "watched.PRESENTATION_ATTACK": "Whether you are there yourself, and not a photograph or a recording.",
  "watched.MULTIPLE_SPEAKERS": "Whether more than one person speaks, because nobody may help.",
  "watched.UNKNOWN_VOICE":
    "If your exam asks for it: whether another voice speaks than at first. Voices are compared by numbers that are forgotten when the exam ends.",
  "watched.WHISPER": "Whether you whisper, because talking is not allowed.",
  "watched.NOTIFICATION_SOUND": "Whether a telephone or computer gives a signal.",
  "watched.LOOPED_AUDIO": "Whether the sound is a recording that repeats itself, because the microphone must be live.",
  "watched.TAB_HIDDEN": "Whether the exam’s page is hidden, because answers could be looked up elsewhere.",
  "watched.WINDOW_BLUR": "Whether you work in another window than the exam’s page, for the same reason.",
  "watched.FULLSCREEN_EXIT": "Whether the exam’s page leaves the full screen, if it was full screen.",
  "watched.CLIPBOARD":
    "Whether something is copied, cut or pasted in the exam’s page, because answers could come from elsewhere. What it is is not read.",
  "watched.SECOND_DISPLAY": "Whether your computer has a second display, because help could be shown there.",
  "watched.VIRTUAL_CAMERA":
    "Whether your camera is a program that can play recordings. Only the name of such a program is noted, never that of a real camera.",
  "watched.CHALLENGE_FAILED": "If your exam asks for it: whether the movements of the check at the beginning could be seen.",
  "watched.page": "Such things the exam’s page, and this one, tell of themselves: that they happened, and when.",
  "watched.technical":
    "Whether picture and sound arrive. Trouble with connection, camera or microphone is never held against you.",
};

export function text(key, values = {}) {
  const sentence = STRINGS[key];
  if (sentence === undefined) throw new Error(`No text for ${key}`);
  return sentence.replace(/\{(\w+)\}/g, (_, name) => String(values[name]));
}

export function hasText(key) {
  return key in STRINGS;
}
