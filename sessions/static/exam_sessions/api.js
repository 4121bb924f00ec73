// The page's way to the service: the join token as bearer, problems as errors with their documented code.

const TIMEOUT_MS = 30_000; // longer than the service waits for a worker

export class ApiError extends Error {
  /** `status` is 0 when nobody answered; `code` is from the documented table of problems, `problem` the whole body. */
  constructor(status, code, message, problem = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.problem = problem;
  }
}

export class Api {
  #base;
  #token;

  constructor(sessionPk, token) {
    this.#base = new URL(`/api/v1/session/${encodeURIComponent(sessionPk)}`, location.origin).href;
    this.#token = token;
  }

  session() {
    return this.#send("GET", "");
  }

  enrol(images, consent) {
    return this.#send("POST", "/enroll", { images, consent });
  }

  withdraw() {
    return this.#send("POST", "/consent/withdraw");
  }

  challenge() {
    return this.#send("POST", "/challenge");
  }

  /** Tell what the page noticed. `last`: the page is going away, and nobody will read the answer. */
  tell(events, now, { last = false } = {}) {
    return this.#send("POST", "/events", { events, now }, { keepalive: last });
  }

  async #send(method, path, body, options = {}) {
    const headers = { Authorization: `Bearer ${this.#token}`, Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let response;
    try {
      response = await fetch(this.#base + path, {
        method,
        headers,
        body: body === undefined ? undefined : JSON.stringify(body),
        cache: "no-store",
        ...options,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch (error) {
      throw new ApiError(0, "unreachable", error.message);
    }
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    throw new ApiError(response.status, answer.code ?? "unknown", answer.detail ?? response.statusText, answer);
  }
}
