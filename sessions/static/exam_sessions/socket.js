// The session's live socket: tells the page when the state changes, and how the check-in goes. Media does not depend on it.

const PROTOCOL = "sd-proctor.v1"; // answered by the server, so that the token is not repeated
const RETRY_MS = [1_000, 2_000, 5_000, 10_000];

export class StateSocket {
  #url;
  #token;
  #onState;
  #onChallenge;
  #socket = null;
  #attempt = 0;
  #timer = 0;

  constructor({ url, token, onState, onChallenge }) {
    this.#url = url;
    this.#token = token;
    this.#onState = onState;
    this.#onChallenge = onChallenge;
    this.#open();
  }

  close() {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  #open() {
    const socket = new WebSocket(this.#url, [PROTOCOL, `bearer.${this.#token}`]);
    this.#socket = socket;
    socket.addEventListener("open", () => (this.#attempt = 0));
    socket.addEventListener("message", ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "state") this.#onState(message.data.state);
      if (message.type === "challenge") this.#onChallenge(message.data);
    });
    socket.addEventListener("close", () => {
      if (this.#socket !== socket) return;
      const wait = RETRY_MS[Math.min(this.#attempt++, RETRY_MS.length - 1)];
      this.#timer = setTimeout(() => this.#open(), wait);
    });
  }
}
