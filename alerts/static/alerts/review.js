// Decide with few keys. A digit takes a reason that was given before; c, d and r send the decision when there is a reason
// and ask for one when there is none: then Enter sends. n passes the incident over. Nothing happens while one types.
"use strict";

(() => {
  function start(form) {
    const field = form.elements.reason;
    const reasons = [...form.querySelectorAll("[data-reason]")];
    const keyed = [...form.querySelectorAll("[data-key]")];
    let armed = null;

    function arm(button) {
      armed = button;
      keyed.forEach((other) => other.toggleAttribute("data-armed", other === button));
    }

    function take(button) {
      field.value = button.dataset.reason;
      if (armed) armed.focus(); else field.blur();
    }

    function press(target) {
      if (target.tagName === "A") { target.click(); return; }
      arm(target);
      if (field.value.trim()) form.requestSubmit(target); else field.focus();
    }

    reasons.forEach((button) => button.addEventListener("click", () => take(button)));
    field.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { arm(null); field.blur(); }
      if (event.key !== "Enter") return;
      event.preventDefault();
      const only = keyed.filter((target) => target.tagName === "BUTTON");
      const button = armed || (only.length === 1 ? only[0] : null);
      if (button) form.requestSubmit(button); else field.blur();  // then c or d decides
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      if (event.target.closest("input, textarea, select, [contenteditable]")) return;
      const target = keyed.find((one) => one.dataset.key === event.key) || reasons[Number(event.key) - 1];
      if (!target) return;
      event.preventDefault();
      if (target.dataset.reason) take(target); else press(target);
    });
    form.addEventListener("submit", () => {  // a second press must not decide on what comes next
      setTimeout(() => keyed.forEach((target) => { if (target.tagName === "BUTTON") target.disabled = true; }));
    });
  }

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll(".review-form").forEach(start);
  });
})();
