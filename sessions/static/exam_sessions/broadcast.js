// Keeps picture and sound going: publishes, and publishes again with growing pauses when the connection is lost.

import { WhipError, WhipPeer } from "./whip.js";

const PAUSES_S = [1, 2, 4, 8, 15];
const PATIENCE_MS = 4_000; // "disconnected" often mends itself
const CONNECT_MS = 20_000;
const FINAL = new Set([401, 403, 404, 409, 410]);

export class Broadcast {
  #options;
  #peer = null;
  #attempt = 0;
  #timer = 0;
  #wanted = true;

  /**
   * `onState(state, values)`: connecting, live, waiting {seconds}, reconnecting, offline or refused {reason}.
   * `onRefused(error)`: the gateway will not take this session any more.
   * `wasReplaced()`: asked after the gateway hung up; true when somebody else publishes this session now.
   * `onReplaced()`: that was so, and nothing more is tried. Two pages would throw each other out for ever.
   */
  constructor(options) {
    this.#options = options;
    addEventListener("online", this.#retryNow);
  }

  start() {
    this.#options.onState("connecting");
    return this.#connect();
  }

  async replaceTrack(track) {
    await this.#peer?.replaceTrack(track);
  }

  stop() {
    this.#wanted = false;
    removeEventListener("online", this.#retryNow);
    this.#drop({ goodbye: true });
  }

  #retryNow = () => {
    if (!this.#wanted || this.#peer) return;
    this.#attempt = 0;
    this.#connect();
  };

  async #connect() {
    clearTimeout(this.#timer);
    const { url, token, iceServers, stream } = this.#options;
    const onState = (state) => this.#changed(peer, state);
    const peer = new WhipPeer({ url, token, iceServers, stream, onState, onHangUp: () => this.#hungUp(peer) });
    this.#peer = peer;
    this.#timer = setTimeout(() => this.#lost(peer), CONNECT_MS);
    try {
      await peer.publish();
    } catch (error) {
      if (this.#peer === peer) this.#failed(peer, error);
    }
  }

  #changed(peer, state) {
    if (this.#peer !== peer) return;
    if (state === "connected") {
      clearTimeout(this.#timer);
      this.#attempt = 0;
      this.#options.onState("live");
    } else if (state === "disconnected") {
      this.#options.onState("reconnecting");
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#lost(peer), PATIENCE_MS);
    } else if (state === "failed" || state === "closed") {
      this.#lost(peer);
    }
  }

  async #hungUp(peer) {
    if (this.#peer !== peer || !this.#wanted) return;
    this.#drop({ goodbye: false });
    this.#options.onState("reconnecting");
    const replaced = await this.#options.wasReplaced();
    if (this.#peer || !this.#wanted) return;
    if (!replaced) return this.#connect();
    this.stop();
    this.#options.onReplaced();
  }

  #failed(peer, error) {
    if (error instanceof WhipError && FINAL.has(error.status)) {
      this.stop();
      this.#options.onRefused(error);
      return;
    }
    this.#lost(peer, error instanceof WhipError && error.status ? error.message : "");
  }

  /** Give the peer up and come back after a pause. */
  #lost(peer, reason = "") {
    if (this.#peer !== peer || !this.#wanted) return;
    this.#drop({ goodbye: false });
    const seconds = PAUSES_S[Math.min(this.#attempt++, PAUSES_S.length - 1)];
    if (!navigator.onLine) this.#options.onState("offline");
    else if (reason) this.#options.onState("refused", { reason });
    else this.#options.onState("waiting", { seconds });
    const spread = 1 + 0.2 * Math.random(); // so that a room full of candidates does not come back in one instant
    this.#timer = setTimeout(() => {
      this.#options.onState("reconnecting");
      this.#connect();
    }, seconds * spread * 1_000);
  }

  #drop({ goodbye }) {
    clearTimeout(this.#timer);
    const peer = this.#peer;
    this.#peer = null;
    peer?.close({ goodbye });
  }
}
