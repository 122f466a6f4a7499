// Elements are made here, and text goes into them as text only: nothing of a request is ever read as HTML.

export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

export function seconds(value) {
  if (value === null || value === undefined) return "";
  if (value < 0.0095) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 120) return `${value.toFixed(1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  for (const unit of ["kB", "MB", "GB"]) {
    bytes /= 1000;
    if (bytes < 1000) return `${bytes.toFixed(bytes < 10 ? 1 : 0)} ${unit}`;
  }
  return `${bytes.toFixed(0)} GB`;
}

export function clock(iso) {
  return new Date(iso).toLocaleTimeString(undefined, { hour12: false });
}

export function statusClass(one) {
  if (one.error) return "bad";
  if (one.status === null) return "open";
  return one.status < 200 ? "info" : one.status < 300 ? "good" : one.status < 400 ? "moved" : one.status < 500 ? "warn" : "bad";
}

export function statusText(one) {
  if (one.error) return one.status ? `${one.status} !` : "failed";
  if (one.status !== null) return String(one.status);
  return one.state === "ended" ? "closed" : "open";
}

export function shownMethod(one) {
  if (one.protocol === "websocket") return "WS";
  return one.method || one.protocol.toUpperCase();
}

let hiding = 0;
export function toast(text) {
  const place = byId("toast");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { place.hidden = true; }, 3500);
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} is copied`);
  } catch {
    openDialog(`Copy ${what}`, el("textarea", { class: "code", rows: 8, readonly: true, "aria-label": what }, text));
  }
}

export function openDialog(title, ...content) {
  const dialog = byId("dialog");
  const close = el("button", { type: "button", class: "plain", "aria-label": "Close", onclick: () => dialog.close() }, "✕");
  dialog.replaceChildren(el("div", { class: "dialog-head" }, el("h2", { id: "dialog-title" }, title), close), ...content);
  if (!dialog.open) dialog.showModal();
  return dialog;
}

export async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  if (!answer.ok) {
    let detail = `the inspector answered ${answer.status}`;
    try { detail = (await answer.json()).detail; } catch { /* no JSON: the status has to do */ }
    throw new Error(detail);
  }
  return answer;
}

export async function post(path, body) {
  const answer = await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  return answer.json();
}
