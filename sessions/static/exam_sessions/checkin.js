// The check-in once the camera is live: some movements, one after the other. The service draws them and sees whether
// they were made; the page shows them, says when, and never holds anybody up.

import { ApiError } from "./api.js";
import * as view from "./view.js";

const READY_MS = 3_500; // to look straight ahead: what is measured then is the candidate's own rest
const BACK_MS = 1_800; // to come back to the middle
const HEARING_MS = 2_500; // from a movement to the word that it was seen
const RESULT_MS = 8_000;
const TELL_TRIES = 3;
const TRIES = 3; // as many as the service gives
const SEEN = "done";

/** Unix seconds by a clock that nobody sets while the page is open. */
const now = () => (performance.timeOrigin + performance.now()) / 1_000;

export class CheckIn {
  #api;
  #onEnd;
  #challenge = null;
  #step = -1;
  #wake = () => {};
  #off = new AbortController();
  #state = "new";
  #tries = 0;

  /** `onEnd()`: passed, or left out by the candidate. */
  constructor({ api, onEnd }) {
    this.#api = api;
    this.#onEnd = onEnd;
    const { signal } = this.#off;
    view.element("check-in-begin").addEventListener("click", () => this.#run(), { signal });
    view.element("check-in-skip").addEventListener("click", () => this.#end(), { signal });
  }

  /** Offer it, once. */
  offer() {
    if (this.#state !== "new") return;
    this.#state = "offered";
    view.showCheckIn("offer", { begin: "checkIn.begin", skip: "checkIn.skip" });
  }

  /** Take in what the service says of the session's latest challenge. */
  heard(challenge) {
    if (challenge?.challenge_id !== this.#challenge?.challenge_id) return;
    this.#challenge = { ...this.#challenge, ...challenge };
    this.#wake();
  }

  /** Go away without a word. */
  stop() {
    this.#off.abort();
    this.#state = "over";
    this.#wake();
    view.hideCheckIn();
  }

  #end() {
    this.stop();
    this.#onEnd();
  }

  async #run() {
    if (this.#state === "running" || this.#state === "over") return;
    this.#state = "running";
    try {
      this.#challenge = await this.#api.challenge();
      this.#tries += 1;
      await this.#play();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      console.warn("The check-in cannot go on:", error.message);
      if (this.#state !== "running") return;
      if (error.status >= 400 && error.status < 500 && error.status !== 429) return this.#end();
      view.showCheckIn("trouble", { begin: "checkIn.again", skip: "checkIn.skip" });
    } finally {
      if (this.#state === "running") this.#state = "offered";
    }
  }

  async #play() {
    const { steps, step_s: stepS } = this.#challenge;
    view.showCheckIn("ready", { skip: "checkIn.stop" });
    await this.#until(() => false, READY_MS);
    for (let step = 0; step < steps.length && this.#state === "running"; step += 1) {
      await this.#ask(step, stepS);
    }
    if (this.#state !== "running") return;
    view.showCheckIn("wait", { skip: "checkIn.close" });
    await this.#until(() => this.#challenge.outcome !== "running", RESULT_MS);
    if (this.#state === "running") this.#show(this.#challenge.outcome);
  }

  async #ask(step, stepS) {
    const { steps, challenge_id: id } = this.#challenge;
    const values = { number: step + 1, count: steps.length };
    view.showCheckIn("step", { skip: "checkIn.stop", prompt: steps[step].prompt, values });
    const shown = { type: "CHALLENGE_STEP", challenge_id: id, step, at: now() };
    const told = this.#tell(shown);
    const seen = () => this.#challenge.steps[step].result === SEEN;
    await this.#until(seen, stepS * 1_000 + HEARING_MS);
    await told;
    if (this.#state !== "running" || step + 1 === steps.length) return;
    view.showCheckIn(seen() ? "seen" : "next", { skip: "checkIn.stop" });
    await this.#until(() => false, BACK_MS);
  }

  async #tell(event) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#api.tell([event], now());
      } catch (error) {
        if (attempt === TELL_TRIES || (error.status >= 400 && error.status < 500)) throw error;
      }
    }
  }

  #show(outcome) {
    if (outcome === "passed") {
      this.#state = "over";
      return view.showCheckIn("passed", { skip: "checkIn.close" });
    }
    if (this.#tries >= TRIES) return view.showCheckIn("failedLast", { skip: "checkIn.close" });
    view.showCheckIn("failed", { begin: "checkIn.again", skip: "checkIn.close" });
  }

  /** Wait until something is so, for so long at most; less when the check-in is over. */
  #until(isSo, wait) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake(), wait);
      const until = performance.now() + wait;
      this.#wake = () => {
        if (this.#state === "running" && !isSo() && performance.now() < until - 1) return;
        clearTimeout(timer);
        resolve();
      };
      this.#wake();
    });
  }
}
