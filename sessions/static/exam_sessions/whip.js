// WHIP (RFC 9725): offer by POST, ICE candidates by PATCH as they are found, good-bye by DELETE.

const POST_TIMEOUT_MS = 15_000;
// The gateway looks at two frames a second and has to decode all: fewer cost it, the browser and the line less. The
// camera itself runs at its own rate, since a slower one exposes longer and blurs.
const FRAMES_PER_SECOND = 10;
const VIDEO_BIT_RATE = 60_000 * FRAMES_PER_SECOND;

export class WhipError extends Error {
  /** `status` is 0 when nobody answered. */
  constructor(status, message, code = "") {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export class WhipPeer {
  #url;
  #token;
  #connection;
  #resource = null;
  #etag = null;
  #found = [];
  #sending = Promise.resolve();
  #onHangUp;

  /**
   * `onState` gets the RTCPeerConnection's connectionState at each change. `onHangUp` is called when the gateway closed
   * the connection: browsers take seconds to call that disconnected.
   */
  constructor({ url, token, iceServers, stream, onState, onHangUp }) {
    this.#url = url;
    this.#token = token;
    this.#connection = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    this.#connection.addEventListener("connectionstatechange", () => onState(this.#connection.connectionState));
    this.#connection.addEventListener("icecandidate", ({ candidate }) => this.#foundCandidate(candidate));
    this.#onHangUp = onHangUp;
    for (const track of stream.getTracks()) this.#add(track, stream);
  }

  async publish() {
    await this.#connection.setLocalDescription();
    const response = await this.#request("POST", this.#url, "application/sdp", this.#connection.localDescription.sdp);
    const answer = await response.text();
    if (response.status !== 201) throw await refusal(response.status, answer);
    this.#resource = new URL(response.headers.get("Location"), this.#url).href;
    this.#etag = response.headers.get("ETag");
    await this.#connection.setRemoteDescription({ type: "answer", sdp: answer });
    const transport = this.#connection.getSenders()[0].transport;
    transport?.addEventListener("statechange", () => transport.state === "closed" && this.#onHangUp());
    this.#sendFound();
  }

  /** Change a track, for instance when a camera was plugged in again. */
  async replaceTrack(track) {
    const sender = this.#connection.getSenders().find((candidate) => candidate.track?.kind === track.kind);
    await sender?.replaceTrack(track);
  }

  /** Close; with `goodbye` the gateway is told, even while the page is being left. */
  close({ goodbye = true } = {}) {
    this.#connection.close();
    if (goodbye && this.#resource) {
      fetch(this.#resource, { method: "DELETE", headers: this.#authorization(), keepalive: true }).catch(() => {
        // The gateway notices by itself that media stopped.
      });
    }
    this.#resource = null;
  }

  #add(track, stream) {
    const video = track.kind === "video";
    const encoding = video ? { maxBitrate: VIDEO_BIT_RATE, maxFramerate: FRAMES_PER_SECOND } : {};
    const transceiver = this.#connection.addTransceiver(track, {
      direction: "sendonly",
      streams: [stream],
      sendEncodings: [encoding],
    });
    if (!video) return;
    track.contentHint = "detail";
    preferCodecs(transceiver);
    const parameters = transceiver.sender.getParameters();
    parameters.degradationPreference = "maintain-resolution"; // a small picture helps nobody, a slow one does
    transceiver.sender.setParameters(parameters).catch(() => {
      // Firefox knows no degradationPreference here; it keeps the resolution on its own account.
    });
  }

  #foundCandidate(candidate) {
    this.#found.push(candidate);
    if (this.#resource) this.#sendFound();
  }

  #sendFound() {
    const found = this.#found.splice(0);
    if (found.length === 0 || !this.#resource) return;
    const fragment = iceFragment(this.#connection.localDescription.sdp, found);
    const resource = this.#resource;
    this.#sending = this.#sending.then(async () => {
      const headers = this.#etag ? { "If-Match": this.#etag } : {};
      await this.#request("PATCH", resource, "application/trickle-ice-sdpfrag", fragment, headers);
    }).catch((error) => console.warn("ICE candidates could not be sent:", error.message));
  }

  #authorization() {
    return { Authorization: `Bearer ${this.#token}` };
  }

  async #request(method, url, type, body, more = {}) {
    try {
      return await fetch(url, {
        method,
        body,
        headers: { ...this.#authorization(), ...more, "Content-Type": type },
        signal: AbortSignal.timeout(POST_TIMEOUT_MS),
      });
    } catch (error) {
      throw new WhipError(0, error.message);
    }
  }
}

async function refusal(status, body) {
  let problem = {};
  try {
    problem = JSON.parse(body);
  } catch {
    // Not a problem document: the status has to do.
  }
  return new WhipError(status, problem.detail ?? `HTTP ${status}`, problem.code ?? "");
}

function preferCodecs(transceiver) {
  const all = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  const rank = ({ mimeType }) => ["video/vp8", "video/h264"].indexOf(mimeType.toLowerCase());
  const wanted = all.filter((codec) => rank(codec) >= 0).sort((one, other) => rank(one) - rank(other));
  const helpers = all.filter(({ mimeType }) => /\/(rtx|red|ulpfec)$/i.test(mimeType));
  if (wanted.length > 0) transceiver.setCodecPreferences?.([...wanted, ...helpers]);
}

/** Write an SDP fragment (RFC 8840): credentials, the first media section's mid, and what was found (null: that was all). */
export function iceFragment(sdp, found) {
  const line = (pattern) => sdp.match(pattern)?.[0];
  const lines = [line(/^a=ice-ufrag:.*$/m), line(/^a=ice-pwd:.*$/m), line(/^m=.*$/m), line(/^a=mid:.*$/m)];
  for (const candidate of found) {
    const done = candidate === null || candidate.candidate === "";
    lines.push(done ? "a=end-of-candidates" : `a=${candidate.candidate}`);
  }
  return lines.map((each) => each.trim() + "\r\n").join("");
}
