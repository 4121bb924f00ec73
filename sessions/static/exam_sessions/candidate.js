// The candidate's page: from the link to the end of the session. Every stage is a function here; the rest are tools.

import { Api, ApiError } from "./api.js";
import { Broadcast } from "./broadcast.js";
import { CheckIn } from "./checkin.js";
import { DeviceError, openDevices, takePicture, watchLevel } from "./devices.js";
import { Noticed } from "./noticed.js";
import { StateSocket } from "./socket.js";
import { CONSENT_VERSION, LOCALE, hasText, text } from "./strings.js";
import * as view from "./view.js";
import { offerWithdrawal } from "./withdrawal.js";

const PICTURES = 3;
const PICTURE_EVERY_MS = 900;
const HEARD_DB = -45;
const OFF_AFTER_MS = 5_000;
const SILENT_DB = -85;
const LOOKS = 2;
const LOOK_EVERY_MS = 2_000;
const IN_FRONT = new Set(["TAB_HIDDEN", "WINDOW_BLUR"]); // of use only where the page must stay in front
const ENDED = new Set(["session_ended", "token_revoked"]);

const page = view.element("page");
const sessionPk = page.dataset.session;
const SENT = `sd-proctor:${sessionPk}:pictures-sent`;
const room = { stream: null, broadcast: null, socket: null, stopLevel: null, wakeLock: null, noticed: null, checkIn: null };
let api = null;
let session = null;
let token = null;

async function open() {
  view.fillTexts();
  token = takeToken();
  if (!token) return view.showStopped("incomplete");
  if (!window.isSecureContext) return view.showStopped("insecure");
  if (!navigator.mediaDevices?.getUserMedia || !window.RTCPeerConnection) return view.showStopped("unsupported");
  api = new Api(sessionPk, token);
  await load();
}

/** Take the token out of the address, where a glance or a screenshot would give it away; keep it for this tab. */
function takeToken() {
  const key = `sd-proctor:${sessionPk}`;
  const fresh = location.hash.slice(1);
  if (fresh) {
    sessionStorage.setItem(key, fresh);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(key);
}

async function load() {
  view.showStage("loading");
  view.element("connection").hidden = true;
  try {
    session = await api.session();
  } catch (error) {
    return stopBecause(error);
  }
  if (session.state === "ended") return finish();
  view.showWatched(session.watched, session.pictures_kept, session.evidence_days);
  view.showConsent(session.organisation, session.consent_text);
  view.showStage("welcome");
}

function stopBecause(error) {
  if (!(error instanceof ApiError)) throw error;
  if (error.code === "token_expired") return view.showStopped("expired");
  if (ENDED.has(error.code)) return finish();
  if (error.status >= 400 && error.status < 500 && error.status !== 429) return view.showStopped("invalid");
  view.showStopped("unreachable", load);
}

async function allow() {
  if (view.isBusy("allow")) return;
  view.showBusy("allow", "welcome.asking");
  view.showDeviceProblem(null);
  try {
    room.stream = await openDevices();
  } catch (error) {
    if (!(error instanceof DeviceError)) throw error;
    view.showDeviceProblem(error.reason, { reason: error.message });
    return;
  } finally {
    view.showReady("allow");
  }
  enterRoom();
}

function enterRoom() {
  const preview = view.element("preview");
  preview.srcObject = room.stream;
  for (const track of room.stream.getTracks()) watchTrack(track);
  showDevices();
  offerWithdrawal({ api, session, onWithdrawn: withdrawn });
  if (session.enrolled || !session.enroll_on_join) view.showRoom("check", { ready: "known" });
  else view.showRoom("check", { enrolment: true });
}

function watchTrack(track) {
  for (const change of ["ended", "mute", "unmute"]) track.addEventListener(change, showDevices);
  if (track.kind !== "audio") return;
  room.stopLevel?.();
  let soundAt = performance.now();
  room.stopLevel = watchLevel(room.stream, (share, db) => {
    if (db > SILENT_DB) soundAt = performance.now();
    const on = isOn(track) && performance.now() - soundAt < OFF_AFTER_MS;
    view.showLevel(share, { on, heard: db > HEARD_DB });
  });
}

const isOn = (track) => track?.readyState === "live" && !track.muted;

function showDevices() {
  view.showCamera(isOn(room.stream?.getVideoTracks()[0]));
}

/** A camera or microphone that was unplugged is back: take it up again, without troubling the candidate. */
async function devicesChanged() {
  const tracks = room.stream?.getTracks() ?? [];
  if (tracks.length === 0 || tracks.every((track) => track.readyState === "live")) return;
  let fresh;
  try {
    fresh = await openDevices();
  } catch (error) {
    console.warn("The devices are not back yet:", error.message);
    return;
  }
  for (const track of tracks) track.stop();
  room.stream = fresh;
  view.element("preview").srcObject = fresh;
  for (const track of fresh.getTracks()) {
    watchTrack(track);
    await room.broadcast?.replaceTrack(track);
  }
  tellCamera();
  showDevices();
}

async function enrol(event) {
  event.preventDefault();
  if (view.isBusy("take")) return;
  view.showEnrolProblem([]);
  if (!view.element("consent").checked) {
    view.showEnrolProblem([text("enrol.needConsent")]);
    return view.element("consent").focus();
  }
  const { version, locale } = session.consent_text ?? { version: CONSENT_VERSION, locale: LOCALE };
  const consent = { version, given_at: new Date().toISOString(), locale };
  try {
    view.element("decline").disabled = true;
    const images = await takePictures();
    view.showBusy("take", "enrol.sending");
    sessionStorage.setItem(SENT, "yes"); // whoever declines now is not told that nothing was sent
    await api.enrol(images, consent);
    enrolled();
  } catch (error) {
    enrolFailed(error);
  } finally {
    view.showReady("take");
    view.element("decline").disabled = false;
  }
}

/** The candidate does not agree: give the devices back, and say whom to turn to. Nobody is told of it by us. */
function decline() {
  letGo();
  view.showEnrolProblem([]);
  view.element("consent").checked = false;
  const organisation = session.organisation ?? text("organisation.you");
  const reason = sessionStorage.getItem(SENT) ? "declinedLater" : "declined";
  view.showStopped(reason, load, { button: "stopped.back", organisation });
}

/** Consent is withdrawn, and the session ended with it: give the devices back, and say what comes now. */
function withdrawn() {
  letGo();
  view.showConnection("ended");
  view.showStopped("withdrawn", null, { organisation: session.organisation ?? text("organisation.you") });
}

function enrolled() {
  session.enrolled = true;
  offerWithdrawal({ api, session, onWithdrawn: withdrawn });
  view.showRoom("check", { ready: "enrolled" });
  view.element("start").focus();
}

function enrolFailed(error) {
  if (!(error instanceof ApiError)) throw error;
  if (error.code === "already_enrolled") return enrolled();
  if (ENDED.has(error.code) || error.status === 401 || error.status === 403) return stopBecause(error);
  const again = error.code === "duplicate_suspected" ? [] : [text("enrol.again")];
  view.showEnrolProblem([...enrolSentences(error), ...again]);
}

/** Say kindly what is wrong; the same thing wrong with three pictures is said once. */
function enrolSentences(error) {
  const problems = error.problem.problems ?? [];
  const codes = new Set([...problems.map((each) => each.code), ...(problems.length ? [] : [error.code])]);
  return [...codes].map((code) => {
    const key = `enrol.problem.${code}`;
    return hasText(key) ? text(key) : text("enrol.problem.other", { reason: error.message });
  });
}

async function takePictures() {
  const images = [];
  for (let number = 1; number <= PICTURES; number += 1) {
    view.showBusy("take", "enrol.taking", { number, count: PICTURES });
    view.showCountdown(PICTURES - number + 1);
    await new Promise((resolve) => setTimeout(resolve, PICTURE_EVERY_MS));
    images.push(takePicture(view.element("preview")));
  }
  view.showCountdown(0);
  return images;
}

function start() {
  view.showRoom("live", { front: session.page_in_front });
  room.checkIn = session.check_in ? new CheckIn({ api, onEnd: checkInEnded }) : null;
  const onChallenge = (challenge) => room.checkIn?.heard(challenge);
  room.socket = new StateSocket({ url: session.ws_url, token, onState: stateChanged, onChallenge });
  room.broadcast = new Broadcast({
    url: session.whip_url,
    token,
    iceServers: session.ice_servers,
    stream: room.stream,
    onState: connectionChanged,
    onRefused: refused,
    wasReplaced,
    onReplaced: replaced,
  });
  room.broadcast.start();
  notice();
  keepAwake();
}

/** Notice what the policy looks for. Full screen comes first: only a click allows it, and leaving it is told. */
async function notice() {
  if (session.page_in_front && session.watched.includes("FULLSCREEN_EXIT")) await toFullScreen();
  if (!room.broadcast || room.noticed) return;
  room.noticed = new Noticed({
    kinds: session.watched.filter((kind) => session.page_in_front || !IN_FRONT.has(kind)),
    tell: (events, now, options) => api.tell(events, now, options),
    store: `sd-proctor:${sessionPk}:noticed`,
  });
  tellCamera();
}

function tellCamera() {
  room.noticed?.camera(room.stream?.getVideoTracks()[0]?.label ?? "");
}

/** The check-in is over, or left out: from now on it is not offered again. */
function checkInEnded() {
  session.check_in = false;
  room.checkIn = null;
}

async function toFullScreen() {
  await document.documentElement.requestFullscreen?.({ navigationUI: "hide" }).catch((error) => {
    console.warn("The browser gives no full screen:", error.message);
  });
}

function showFullScreen() {
  const isWanted = room.noticed && session.watched.includes("FULLSCREEN_EXIT");
  view.showFullScreen(!isWanted || document.fullscreenElement);
}

function connectionChanged(state, values) {
  const sign = { connecting: "connecting", live: "live" }[state] ?? "reconnecting";
  view.showConnection(sign, state, values);
  if (state === "live") room.checkIn?.offer();
}

function stateChanged(state) {
  page.dataset.state = state;
  if (state === "ended") finish();
}

/** The gateway says no for good: ask the service why, and show that. */
async function refused() {
  letGo();
  try {
    session = await api.session();
  } catch (error) {
    return stopBecause(error);
  }
  if (session.state === "ended") return finish();
  replaced();
}

/** Tell whether the session goes on without us: then another page publishes it. A gateway that stops interrupts it. */
async function wasReplaced() {
  for (let look = 0; look < LOOKS; look += 1) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    try {
      const { state } = await api.session();
      if (state !== "live") return false;
    } catch (error) {
      console.warn("The state of the session is not known:", error.message);
      return false;
    }
  }
  return true;
}

function replaced() {
  letGo();
  view.showConnection("elsewhere");
  view.showStopped("replaced", load);
}

async function keepAwake() {
  if (document.visibilityState !== "visible" || !room.broadcast) return;
  room.wakeLock = await navigator.wakeLock?.request("screen").catch(() => null); // refused on low battery: no matter
}

function finish() {
  letGo();
  view.showConnection("ended");
  view.showStopped("ended");
}

function letGo() {
  room.broadcast?.stop();
  room.socket?.close();
  room.stopLevel?.();
  room.noticed?.stop();
  room.checkIn?.stop();
  room.wakeLock?.release();
  for (const track of room.stream?.getTracks() ?? []) track.stop();
  view.element("preview").srcObject = null;
  for (const part of Object.keys(room)) room[part] = null;
  view.showFullScreen(true);
  if (document.fullscreenElement) document.exitFullscreen();
}

view.element("allow").addEventListener("click", allow);
view.element("enrolment").addEventListener("submit", enrol);
view.element("decline").addEventListener("click", decline);
view.element("start").addEventListener("click", start);
navigator.mediaDevices?.addEventListener("devicechange", devicesChanged);
view.element("to-full-screen").addEventListener("click", toFullScreen);
document.addEventListener("visibilitychange", keepAwake);
document.addEventListener("fullscreenchange", showFullScreen);
addEventListener("pagehide", () => room.broadcast?.stop());
addEventListener("pageshow", (event) => event.persisted && location.reload());
open();
