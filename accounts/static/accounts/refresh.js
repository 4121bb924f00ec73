// Keeps a page of the admin up to date: every five seconds what changed on the server is put in place, unless the page is
// hidden or somebody is selecting, editing or pointing at something in it.
"use strict";

(() => {
  const PERIOD_MS = 5000;
  const PARTS = "#result_list > tbody, #content-main fieldset.module";
  let note = null;

  function say(state, text) {
    note.dataset.state = state;
    note.textContent = text;
  }

  function inUse(content) {
    const field = document.activeElement;
    if (content.querySelector("tbody input[type=checkbox]:checked, #action-toggle:checked")) return "a row is selected";
    if (field && field !== document.body && content.contains(field) && field.matches("input:not([type=checkbox]), select, textarea"))
      return "a field is being edited";
    if (content.querySelector("a:hover, button:hover, input:hover, select:hover")) return "the mouse is on a link";
    return String(window.getSelection()) ? "text is selected" : "";
  }

  // Alpine adds styles and marks to what it has seen: the server's own text is what is compared.
  let seen = null;

  function parts(page) {
    return [...page.querySelectorAll(PARTS)];
  }

  function replace(old, fresh) {
    const open = [...old.querySelectorAll("details")].map((details) => details.open);
    const node = document.importNode(fresh, true);
    node.querySelectorAll("details").forEach((details, index) => { details.open = Boolean(open[index]); });
    old.replaceWith(node);
  }

  function apply(page) {
    const fresh = parts(page);
    const html = fresh.map((part) => part.outerHTML);
    const shown = parts(document);
    const listed = document.querySelector("#action-toggle");  // Django's own script knows these rows one by one
    if (seen !== null && html.join() === seen.join()) return;
    if (shown.length !== fresh.length || listed) {
      if (seen !== null) { window.location.reload(); return; }
    } else if (seen !== null) {
      shown.forEach((part, index) => { if (html[index] !== seen[index]) replace(part, fresh[index]); });
    }
    seen = html;
  }

  async function refresh(content) {
    if (document.hidden) return;
    const reason = inUse(content);
    if (reason) { say("waiting", `not refreshed: ${reason}`); return; }
    const answer = await fetch(window.location.href, { credentials: "same-origin" });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    if (answer.redirected) { window.location.reload(); return; }  // signed out meanwhile
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (inUse(content)) return;
    apply(page);
    say("fresh", `refreshed ${new Date().toLocaleTimeString("en-GB")}`);
  }

  async function run(content) {
    for (;;) {
      try {
        await refresh(content);
      } catch (error) {
        say("failed", `not refreshed: ${error.message}`);
      }
      await new Promise((resolve) => { setTimeout(resolve, PERIOD_MS); });
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    const content = document.getElementById("content-main");
    if (!content || !document.body.matches(".change-list, .model-examsession.change-form")) return;
    note = document.createElement("div");
    note.className = "refreshed";
    note.setAttribute("role", "status");
    document.body.append(note);
    run(content);
  });
})();
