// What the page shows. Knows elements and texts, nothing of sessions or media.

import { hasText, text } from "./strings.js";

const STAGES = ["loading", "stopped", "welcome", "room"];
const OF_THE_PAGE = new Set(["TAB_HIDDEN", "WINDOW_BLUR", "FULLSCREEN_EXIT", "CLIPBOARD", "SECOND_DISPLAY", "VIRTUAL_CAMERA"]);
const page = document.getElementById("page");

export const element = (id) => document.getElementById(id);

export function fillTexts() {
  for (const each of document.querySelectorAll("[data-text]")) each.textContent = text(each.dataset.text);
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", text(each.dataset.label));
}

/** Say what the candidate agrees to, and with whom: `organisation` is a name, or null where it has none of its own.
 *  `own` is the organisation's text in force, or null where the page's will do. */
export function showConsent(organisation, own) {
  const named = { organisation: organisation ?? text("organisation.me") };
  element("consent-text").textContent = own?.text ?? text("enrol.consentText", named);
  if (own) element("consent-text").lang = own.locale;
}

/** Show one stage and move the focus to its heading, so that a screen reader starts there. */
export function showStage(name) {
  const changed = page.dataset.stage !== name;
  page.dataset.stage = name;
  for (const stage of STAGES) element(`stage-${stage}`).hidden = stage !== name;
  element("watched").hidden = name !== "welcome" && name !== "room";
  if (changed) element(`title-${name}`).focus({ preventScroll: name === "room" });
}

/** Show why the page goes no further. `retry` is what the button does; without it there is no button. */
export function showStopped(reason, retry, { button = "stopped.retry", ...values } = {}) {
  element("title-stopped").textContent = text(`stopped.${reason}.title`);
  element("stopped-text").textContent = text(`stopped.${reason}.text`, values);
  element("stopped-retry").hidden = !retry;
  element("stopped-retry").textContent = text(button);
  element("stopped-retry").onclick = retry ?? null;
  page.dataset.reason = reason;
  showStage("stopped");
}

/** Show what the room is for: `check` (look at yourself, be enrolled) or `live`. */
export function showRoom(purpose, { enrolment = false, ready = "", front = false } = {}) {
  const changed = page.dataset.stage === "room" && page.dataset.purpose !== purpose;
  page.dataset.purpose = purpose;
  element("title-room").textContent = text(`room.title.${purpose}`);
  element("room-text").textContent = text(`room.text.${front ? "front" : purpose}`);
  element("enrolment").hidden = !(purpose === "check" && enrolment);
  element("ready").hidden = !(purpose === "check" && !enrolment);
  element("running").hidden = purpose !== "live";
  if (ready) element("ready-text").textContent = text(`ready.${ready}`);
  showStage("room");
  if (changed) element("title-room").focus({ preventScroll: true });
}

const SIGNS = { turn_left: "←", turn_right: "→", look_up: "↑", come_closer: "⊕", open_mouth: "○" }; // in the mirror, left is left

/** Show where the check-in stands: a title, a sentence, a movement to make, and what may be chosen (null: nothing). */
export function showCheckIn(stage, { begin = null, skip = null, prompt = null, values = {} } = {}) {
  const box = element("check-in");
  const hadFocus = box.contains(document.activeElement);
  box.hidden = false;
  box.dataset.step = stage;
  element("check-in-title").textContent = text(`checkIn.${stage}.title`, values);
  element("check-in-text").textContent = text(`checkIn.${stage}.text`, values);
  element("check-in-prompt").hidden = !prompt;
  element("check-in-sign").textContent = prompt ? SIGNS[prompt] : "";
  element("check-in-ask").textContent = prompt ? text(`checkIn.${prompt}`) : "";
  for (const [id, key] of [["check-in-begin", begin], ["check-in-skip", skip]]) {
    element(id).hidden = !key;
    if (key) element(id).textContent = text(key);
  }
  const first = prompt ? element("check-in-ask").textContent : element("check-in-title").textContent;
  setText(element("announcer"), `${first}. ${element("check-in-text").textContent}`);
  if (hadFocus && document.activeElement === document.body) element("check-in-title").focus({ preventScroll: true });
}

export function hideCheckIn() {
  const box = element("check-in");
  const hadFocus = box.contains(document.activeElement);
  box.hidden = true;
  if (hadFocus) element("title-room").focus({ preventScroll: true });
}

/** Say how the connection is: the sign in the header and the sentence below the picture. */
export function showConnection(state, sentence, values) {
  const pill = element("connection");
  pill.hidden = false;
  pill.dataset.state = state;
  setText(pill, text(`connection.${state}`));
  if (!sentence) return;
  const notice = element("running-text");
  notice.className = state === "live" ? "notice good" : "notice problem";
  setText(notice, text(`running.${sentence}`, values));
}

export function showDeviceProblem(reason, values = {}) {
  const problem = element("device-problem");
  problem.hidden = !reason;
  problem.dataset.reason = reason ?? "";
  if (!reason) return;
  element("device-problem-title").textContent = text(`device.${reason}.title`);
  element("device-problem-text").textContent = text(`device.${reason}.text`, values);
}

export function showEnrolProblem(sentences) {
  const box = element("enrol-problem");
  box.hidden = sentences.length === 0;
  box.replaceChildren(...sentences.map((sentence) => paragraph(sentence)));
}

/** List what is watched, with the reason for each; what has no text of its own is technical. */
export function showWatched(eventTypes, picturesKept, evidenceDays) {
  const written = eventTypes.includes("KEYWORD_SPOKEN");
  const keys = eventTypes
    .map((eventType) => `watched.${eventType}${written && eventType === "SPEECH_DETECTED" ? ".written" : ""}`)
    .filter(hasText);
  const told = eventTypes.some((eventType) => OF_THE_PAGE.has(eventType)) ? ["watched.page"] : [];
  const items = [...keys, ...told, "watched.technical"].map((key) => {
    const item = document.createElement("li");
    item.textContent = text(key);
    return item;
  });
  element("watched-list").replaceChildren(...items);
  const kept = !picturesKept ? "watched.kept.none" : evidenceDays === 0 ? "watched.kept.unlimited" : "watched.kept";
  element("watched-kept").textContent = text(kept, { days: evidenceDays });
}

/** Offer the way back to a page that left the full screen. */
export function showFullScreen(on) {
  element("full-screen").hidden = Boolean(on);
}

export function showCamera(on) {
  setText(element("camera-state"), text(on ? "room.camera.on" : "room.camera.off"));
}

export function showLevel(share, { on, heard }) {
  element("level").value = share;
  const key = on ? (heard ? "on" : "quiet") : "off";
  setText(element("microphone-state"), text(`room.microphone.${key}`));
}

export function showCountdown(number) {
  element("countdown").hidden = number === 0;
  element("countdown").textContent = number || "";
}

/** Disable a button while something runs, say on it what, and have a screen reader say it too. */
export function showBusy(id, key, values) {
  const button = element(id);
  button.setAttribute("aria-disabled", "true");
  button.textContent = text(key, values);
  setText(element("announcer"), button.textContent);
}

/** Give a button back its own text. */
export function showReady(id) {
  const button = element(id);
  button.removeAttribute("aria-disabled");
  button.textContent = text(button.dataset.text);
}

export function isBusy(id) {
  return element(id).hasAttribute("aria-disabled");
}

function paragraph(sentence) {
  const each = document.createElement("p");
  each.textContent = sentence;
  return each;
}

/** Change a text only when it differs: a live region reads every change aloud. */
function setText(target, sentence) {
  if (target.textContent !== sentence) target.textContent = sentence;
}
