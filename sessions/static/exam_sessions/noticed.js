// What the page notices of itself: hidden, left, not full screen, clipboard, second display, camera. Kept until it was taken.

const TELL_AFTER_MS = 300; // hiding a page blurs it as well: one request
const PAUSES_MS = [1_000, 2_000, 5_000, 10_000, 30_000];
const AT_ONCE = 100; // as many as the service takes
const KEPT = 500;
const KEPT_S = 3_500; // the service takes nothing older than an hour
const FINAL = new Set([400, 401, 403, 404, 409, 413, 415, 422]);

/** Unix seconds by a clock that nobody sets while the page is open. */
const now = () => (performance.timeOrigin + performance.now()) / 1_000;

export class Noticed {
  #kinds;
  #tell;
  #store;
  #kept;
  #standing = new Map();
  #sending = false;
  #attempt = 0;
  #timer = 0;
  #off = new AbortController();

  /**
   * `kinds`: what is looked for. `tell(events, now, options)`: a promise, rejected with a `status` when it was not taken.
   * `store`: name in the tab's storage for what a page that goes away could not tell any more.
   */
  constructor({ kinds, tell, store }) {
    this.#kinds = new Set(kinds);
    this.#tell = tell;
    this.#store = store;
    this.#kept = JSON.parse(sessionStorage.getItem(store) ?? "[]");
    sessionStorage.removeItem(store);
    this.#listen();
    for (const kind of ["TAB_HIDDEN", "WINDOW_BLUR", "FULLSCREEN_EXIT", "SECOND_DISPLAY"]) this.#look(kind, { first: true });
  }

  /** Tell which camera is in use. Its name stays here and on its way: the service keeps those of known programs only. */
  camera(label) {
    if (this.#kinds.has("VIRTUAL_CAMERA")) this.#keep({ type: "CAMERA", camera: label });
  }

  /** Nothing is noticed any more. What was noticed before is still told. */
  stop() {
    this.#off.abort();
  }

  #listen() {
    const on = (target, names, listener) => {
      for (const name of names) target?.addEventListener?.(name, listener, { signal: this.#off.signal });
    };
    on(document, ["visibilitychange"], () => {
      this.#look("TAB_HIDDEN");
      // Whoever comes back to the page, but not into it: hidden pages explain that they are left, shown ones do not.
      if (!document.hidden && !document.hasFocus()) this.#look("WINDOW_BLUR", { first: true });
    });
    on(window, ["blur", "focus"], () => this.#look("WINDOW_BLUR"));
    on(document, ["fullscreenchange"], () => this.#look("FULLSCREEN_EXIT"));
    on(window.screen, ["change"], () => this.#look("SECOND_DISPLAY"));
    on(document, ["copy", "cut", "paste"], ({ type }) => this.#note({ type: "CLIPBOARD", action: type }));
    on(window, ["online"], () => this.#flush());
    on(window, ["pagehide"], () => this.#leave());
  }

  #isSo(kind) {
    if (kind === "TAB_HIDDEN") return document.hidden;
    if (kind === "WINDOW_BLUR") return !document.hasFocus();
    if (kind === "SECOND_DISPLAY") return window.screen.isExtended === true;
    if (document.fullscreenElement) return false;
    return this.#standing.has(kind); // who was never full screen has not left it
  }

  /** Tell how it stands with a kind, if that is news or (`first`) the first that is told of it. */
  #look(kind, { first = false } = {}) {
    const standing = this.#isSo(kind);
    if (!first && standing === this.#standing.get(kind)) return;
    this.#standing.set(kind, standing);
    this.#note({ type: kind, ended: !standing });
  }

  #note(event) {
    if (this.#kinds.has(event.type)) this.#keep(event);
  }

  #keep(event) {
    this.#kept.push({ ...event, at: now() });
    if (this.#kept.length > KEPT) this.#kept.shift();
    if (this.#attempt === 0) this.#soon(TELL_AFTER_MS);
  }

  #soon(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#flush(), wait);
  }

  async #flush() {
    this.#kept = this.#kept.filter((event) => event.at > now() - KEPT_S);
    if (this.#sending || this.#kept.length === 0) return;
    const events = this.#kept.slice(0, AT_ONCE);
    this.#sending = true;
    try {
      await this.#tell(events, now());
    } catch (error) {
      if (!FINAL.has(error.status)) return this.#soon(PAUSES_MS[Math.min(this.#attempt++, PAUSES_MS.length - 1)]);
      console.warn("What the page noticed is not taken:", error.message);
    } finally {
      this.#sending = false;
    }
    this.#attempt = 0;
    this.#kept = this.#kept.filter((event) => !events.includes(event));
    if (this.#kept.length > 0) this.#soon(TELL_AFTER_MS);
  }

  /** The page goes away: from here on nobody knows how it stands. */
  #leave() {
    for (const [kind, standing] of this.#standing) {
      if (standing) this.#note({ type: kind, ended: true });
    }
    this.stop();
    clearTimeout(this.#timer);
    if (this.#kept.length === 0) return;
    sessionStorage.setItem(this.#store, JSON.stringify(this.#kept)); // a page that is reloaded tells it again
    this.#tell(this.#kept.slice(-AT_ONCE), now(), { last: true }).catch(() => {});
  }
}
