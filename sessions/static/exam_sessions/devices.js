// Camera and microphone: asking for them, saying why it failed, and how loud it is.

const WANTED = {
  video: { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 15, max: 30 }, facingMode: "user" },
  // The sound as it is: noise suppression would take away just what has to be heard, a voice in the background.
  audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true },
};
const LEVEL_EVERY_MS = 150;
const FLOOR_DB = -70;

export class DeviceError extends Error {
  /** `reason`: denied, noCamera, noMicrophone, busy or other. */
  constructor(reason, message) {
    super(message);
    this.reason = reason;
  }
}

export async function openDevices() {
  try {
    return await navigator.mediaDevices.getUserMedia(WANTED);
  } catch (error) {
    throw new DeviceError(await reasonOf(error), `${error.name}: ${error.message}`);
  }
}

async function reasonOf(error) {
  switch (error.name) {
    case "NotAllowedError":
    case "SecurityError":
      return "denied";
    case "NotReadableError":
    case "AbortError":
      return "busy";
    case "NotFoundError": {
      const found = await navigator.mediaDevices.enumerateDevices().catch(() => []);
      return found.some((device) => device.kind === "videoinput") ? "noMicrophone" : "noCamera";
    }
    default:
      return "other";
  }
}

/** Report the microphone's level, 0 to 1 on a scale of decibels, about seven times a second. Returns a stop function. */
export function watchLevel(stream, report) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 2048;
  const source = context.createMediaStreamSource(stream);
  source.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const timer = setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    let sum = 0;
    for (const sample of samples) sum += sample * sample;
    const db = 10 * Math.log10(sum / samples.length + 1e-12);
    report(Math.min(1, Math.max(0, 1 - db / FLOOR_DB)), db);
  }, LEVEL_EVERY_MS);
  return () => {
    clearInterval(timer);
    source.disconnect();
    context.close();
  };
}

/** Take the video's present picture, unmirrored, as base64 of a JPEG. */
export function takePicture(video) {
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  return canvas.toDataURL("image/jpeg", 0.92).split(",")[1];
}
