// Listens to the proctor's socket and puts what it tells into the live page. After a break it goes on where it was.
"use strict";

(() => {
  const LOG_KEPT = 200;
  const LATEST_KEPT = 3;
  const WAIT_MS = [500, 1000, 2000, 5000, 10000];
  const NOBODY = "00000000-0000-0000-0000-000000000000";
  const SIGNED_OUT = 4401;
  const FORBIDDEN = 4403;
  const UNKNOWN_EVENT = 4410;

  const page = document.getElementById("live");
  const status = document.getElementById("live-status");
  const sessions = document.getElementById("live-sessions");
  const log = document.getElementById("live-log");
  const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: page.dataset.zone });
  let after = page.dataset.after;
  let failures = 0;
  let told = null;

  function say(state, text) {
    if (text === told) return;  // a screen reader would read it again
    told = text;
    status.dataset.state = state;
    status.textContent = text;
  }

  function part(row, name) {
    return row.querySelector(`[data-part="${name}"]`);
  }

  function address(kind, id) {
    return page.dataset[`${kind}Url`].replace(NOBODY, id);
  }

  function link(kind, id, text) {
    const made = document.createElement("a");
    made.href = address(kind, id);
    made.textContent = text;
    return made;
  }

  function time(iso) {
    const made = document.createElement("time");
    made.dateTime = iso;
    made.textContent = clock.format(new Date(iso));
    return made;
  }

  function span(name, text) {
    const made = document.createElement("span");
    made.className = name;
    made.textContent = text;
    return made;
  }

  function mark(node) {
    node.classList.remove("live-new");
    void node.offsetWidth;  // begins the animation anew
    node.classList.add("live-new");
  }

  // --- Sessions ------------------------------------------------------------------------------------------------------
  function showState(row, state) {
    const cell = part(row, "state");
    const label = page.querySelector(`template[data-state-label="${CSS.escape(state)}"]`);
    cell.dataset.state = state;
    cell.replaceChildren(label ? label.content.cloneNode(true) : state);
  }

  function showEmpty() {
    document.getElementById("live-nobody").hidden = sessions.children.length > 0;
    document.getElementById("live-quiet").hidden = log.children.length > 0;
  }

  function newRow(session) {
    const row = document.getElementById("live-row").content.firstElementChild.cloneNode(true);
    row.dataset.session = session.id;
    row.dataset.name = session.session_id;
    row.dataset.open = "";
    const candidate = part(row, "candidate");
    candidate.textContent = session.candidate_id;
    candidate.href = address("session", session.id);
    part(row, "exam").textContent = session.exam_id || "–";
    sessions.prepend(row);
    mark(row);
    return row;
  }

  function onSession(session) {
    const row = sessions.querySelector(`[data-session="${CSS.escape(session.id)}"]`);
    if (row || session.state !== "ended") showState(row || newRow(session), session.state);
    showEmpty();
  }

  function onRow(row, alert) {
    const { incident_id: id, phase } = alert.metadata;
    const open = new Set(row.dataset.open.split(" ").filter(Boolean));
    if (phase === "opened") open.add(id);
    else open.delete(id);
    row.dataset.open = [...open].join(" ");
    part(row, "open").textContent = open.size;
    const latest = part(row, "latest");
    let item = latest.querySelector(`[data-incident="${CSS.escape(id)}"]`);
    if (!item) {
      item = document.createElement("li");
      item.dataset.incident = id;
      item.append(link("incident", id, alert.event_type), " ", time(alert.timestamp));
      latest.prepend(item);
      while (latest.children.length > LATEST_KEPT) latest.lastElementChild.remove();
    }
    item.dataset.phase = phase;
    item.dataset.technical = alert.metadata.technical;
    mark(row);
  }

  // --- Alerts --------------------------------------------------------------------------------------------------------
  function logItem(alert) {
    const { incident_id: id, phase, technical, evidence } = alert.metadata;
    const item = document.createElement("li");
    item.dataset.event = alert.event_id;
    item.dataset.phase = phase;
    item.dataset.technical = technical;
    if (evidence.length && page.dataset.pictureUrl) {
      const picture = document.createElement("img");
      Object.assign(picture, { src: address("picture", evidence[0].evidence_id), alt: "", width: 64, height: 48 });
      item.append(picture);
    }
    const words = document.createElement("div");
    const severity = alert.severity_score.toFixed(2);
    words.append(
      link("incident", id, alert.event_type), " ", span("live-phase", phase), " ",
      span("live-detail", `${alert.candidate_id}, ${clock.format(new Date(alert.timestamp))}, severity ${severity}`),
    );
    item.append(words);
    return item;
  }

  function onAlert(alert) {
    after = alert.event_id;
    if (log.querySelector(`[data-event="${CSS.escape(alert.event_id)}"]`)) return;
    const item = logItem(alert);
    const scrolled = log.scrollTop;
    log.prepend(item);
    if (scrolled > 0) log.scrollTop = scrolled + item.offsetHeight;  // who reads further down stays there
    while (log.children.length > LOG_KEPT) log.lastElementChild.remove();
    mark(item);
    const row = sessions.querySelector(`[data-name="${CSS.escape(alert.exam_session_id)}"]`);
    if (row) onRow(row, alert);
    showEmpty();
  }

  // --- The socket ----------------------------------------------------------------------------------------------------
  function onMessage(event) {
    const { type, data } = JSON.parse(event.data);
    if (type === "ready") {
      failures = 0;
      say("live", "Live");
    } else if (type === "session") {
      onSession(data);
    } else if (type === "alert") {
      onAlert(data);
    }
  }

  function onClose(event) {
    if (event.code === SIGNED_OUT || event.code === FORBIDDEN) {
      say("lost", "Not connected: sign in again, or ask for the permission.");
    } else if (event.code === UNKNOWN_EVENT) {
      window.location.reload();  // what was seen last is not kept any more
    } else {
      say("lost", "Connection lost, trying again …");
      window.setTimeout(connect, WAIT_MS[Math.min(failures++, WAIT_MS.length - 1)]);
    }
  }

  function connect() {
    const url = new URL(page.dataset.socket, window.location.href);
    url.protocol = url.protocol.replace("http", "ws");
    if (after) url.searchParams.set("after", after);
    const socket = new WebSocket(url);
    socket.addEventListener("message", onMessage);
    socket.addEventListener("close", onClose);
  }

  sessions.querySelectorAll("tr").forEach((row) => { showState(row, part(row, "state").dataset.state); });
  connect();
})();
