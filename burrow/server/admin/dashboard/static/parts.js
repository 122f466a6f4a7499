// Small parts that several views show.

import { attribute, h, icon, put, svg } from "./dom.js";
import { NOTHING, moment, utc } from "./format.js";

/** A sentence at the edge of the page, for a while. */
export function toast(text, bad = false) {
  const shown = h("div", { class: bad ? "toast bad" : "toast", text });
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), bad ? 9000 : 4000);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS, browsers have the older way alone.
    const area = h("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

/** A button that copies what `text()` returns. `what` names it for those who hear the page. */
export function copyButton(text, what) {
  const button = h(
    "button",
    {
      type: "button",
      class: "quiet small",
      "aria-label": `Copy ${what}`,
      title: `Copy ${what}`,
      click: async (event) => {
        event.stopPropagation();
        await copy(text());
        button.replaceChildren(icon("check"));
        toast("Copied.");
        setTimeout(() => button.replaceChildren(icon("copy")), 1500);
      },
    },
    icon("copy"),
  );
  return button;
}

/** A line to type, with a button that copies it. */
export function command(text) {
  return h("div", { class: "command" }, h("code", { text, tabindex: "0" }), copyButton(() => text, "the command"));
}

/** What is shown where there is nothing yet. */
export function empty(title, text, ...commands) {
  return h("div", { class: "empty" }, h("h2", { text: title }), h("p", { text }), commands.map(command));
}

/** A moment: local time, with UTC in its title. */
export function timeElement(exact = false) {
  const element = h("time");
  return {
    element,
    update(iso) {
      put(element, moment(iso, exact));
      attribute(element, "datetime", iso || null);
      attribute(element, "title", iso ? utc(iso) : null);
    },
  };
}

const KINDS = {
  open: "good",
  valid: "good",
  ok: "good",
  yes: "good",
  detached: "warn",
  due: "warn",
  draining: "warn",
  away: "bad",
  expired: "bad",
  failed: "bad",
  missing: "warn",
  silent: "bad",
  admin: "accent",
};

/** A word in a colour. The colour is never all that tells. */
export function badge(text = "") {
  const element = h("span", { class: "badge" });
  const update = (word, title) => {
    put(element, word || NOTHING);
    attribute(element, "class", `badge ${KINDS[word] || ""}`);
    attribute(element, "title", title || null);
  };
  update(text);
  return { element, update };
}

/** The class of a status. */
export function statusClass(item) {
  if (item.error) return "s5";
  return item.status ? `s${Math.floor(item.status / 100)}` : "s0";
}

/** A line of how something went, without a scale: the number stands beside it. */
export function spark(width = 88, height = 24) {
  const line = svg("path", { class: "spark-line" });
  const area = svg("path", { class: "spark-area" });
  const element = svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    area,
    line,
  );
  return {
    element,
    update(given, length = 40) {
      // Before the first look there was nothing to see: the line comes from the left all the same.
      const samples = [...Array(Math.max(0, length - given.length)).fill(0), ...given];
      const most = Math.max(...samples);
      const step = width / (length - 1);
      const points = samples.map(
        (value, index) => `${(index * step).toFixed(1)} ${(height - 2 - (value / (most || 1)) * (height - 4)).toFixed(1)}`,
      );
      const d = `M${points.join("L")}`;
      attribute(line, "d", d);
      attribute(area, "d", most ? `${d}V${height}H0Z` : "");
      attribute(element, "class", most ? "spark" : "spark flat");
    },
  };
}

function dialog(title, content, buttons, wide = false) {
  const heading = h("h2", { id: "dialog-title", text: title });
  const element = h(
    "dialog",
    { "aria-labelledby": "dialog-title", class: wide ? "wide" : "" },
    h("form", { method: "dialog" }, heading, content, h("div", { class: "buttons" }, buttons)),
  );
  const from = document.activeElement;
  element.addEventListener("close", () => {
    element.remove();
    if (from && from.isConnected) from.focus();
  });
  document.body.append(element);
  element.showModal();
  return element;
}

/** Asks; fires with whether the answer is yes. */
export function confirm(title, text, action) {
  return new Promise((answer) => {
    let yes = false;
    const asked = dialog(title, h("p", { text }), [
      h("button", { type: "submit", text: "Cancel", autofocus: true }),
      h("button", { type: "submit", class: "danger", text: action, click: () => (yes = true) }),
    ]);
    asked.addEventListener("close", () => answer(yes));
  });
}

/** Asks first, then does it; tells how it went. */
export async function carryOut(title, text, action, run, done) {
  if (!(await confirm(title, text, action))) return false;
  try {
    await run();
  } catch (error) {
    toast(error.message, true);
    return false;
  }
  toast(done);
  return true;
}

/** Asks with a form until `run(form)` succeeds. */
export function form(title, content, label, run) {
  const trouble = h("p", { class: "trouble", role: "alert" });
  const send = h("button", { type: "submit", class: "primary", text: label });
  const element = dialog(title, h("div", { class: "stack" }, content, trouble), [
    h("button", { type: "button", text: "Cancel", click: () => element.close() }),
    send,
  ]);
  element.firstElementChild.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    try {
      await run(new FormData(event.target));
      element.close();
    } catch (error) {
      put(trouble, error.message);
    }
    send.disabled = false;
  });
}

/** A field of a form, where something has to be typed. */
export function field(label, attributes) {
  const input = h("input", { required: true, autofocus: true, autocomplete: "off", spellcheck: "false", ...attributes });
  return h("label", { class: "field" }, label, input);
}

export { dialog };
