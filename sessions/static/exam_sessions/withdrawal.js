// Take back what was agreed to: as easy as it was to agree.

import { ApiError } from "./api.js";
import { text } from "./strings.js";
import * as view from "./view.js";

const box = () => view.element("withdrawal");

/** Offer it to whoever is compared with a template; `onWithdrawn` is called once the service has ended the session. */
export function offerWithdrawal({ api, session, onWithdrawn }) {
  box().hidden = !(session.enrolled && session.biometric);
  view.element("withdraw").onclick = () => withdraw(api, onWithdrawn);
}

async function withdraw(api, onWithdrawn) {
  if (view.isBusy("withdraw")) return;
  view.showBusy("withdraw", "withdraw.sending");
  view.element("withdraw-problem").hidden = true;
  try {
    await api.withdraw();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    view.element("withdraw-problem").textContent = text("withdraw.failed", { reason: error.message });
    view.element("withdraw-problem").hidden = false;
    return;
  } finally {
    view.showReady("withdraw");
  }
  box().open = false;
  onWithdrawn();
}
