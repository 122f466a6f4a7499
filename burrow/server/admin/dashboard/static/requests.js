// Visitors' requests as they happen: of one tunnel, or of all.

import { Stream, call, list } from "./api.js";
import { Keyed, attribute, h, icon, put, visible } from "./dom.js";
import { NoFilter, filter } from "./filter.js";
import { NOTHING, bytes, duration } from "./format.js";
import { badge, copyButton, empty, statusClass, timeElement } from "./parts.js";

const KEPT = 500;
const SHOWN = 100;
function details(item) {
  const facts = [
    ["Request ID", item.request_id],
    ["Host", item.host && `${item.scheme}://${item.host}`],
    ["Visitor", item.visitor],
    ["Protocol", item.protocol],
    ["Stream to the agent after", duration(item.waited)],
    ["Answer began after", duration(item.first_byte)],
    ["Over after", item.took === null ? "still running" : duration(item.took)],
    ["Received, sent", `${bytes(item.received)}, ${bytes(item.sent)}`],
    ["Trouble", item.error],
  ];
  return facts
    .filter(([, value]) => value)
    .map(([name, value]) =>
      h("div", {}, h("dt", { text: name }), h("dd", {}, value, name === "Request ID" && copyButton(() => item.request_id, "the request's id"))),
    );
}

/** A filter that finds a request in the agent's inspector. */
function alike(item) {
  const path = item.target.split("?")[0].replaceAll('"', "").slice(0, 300);
  return `${item.method ? `method:${item.method} ` : ""}${path ? `path:"${path}"` : ""}`.trim();
}

function row(withTunnel) {
  const { element: time, update: setTime } = timeElement(true);
  const method = h("span", { class: "method" });
  const path = h("button", { type: "button", class: "path", "aria-expanded": "false", click: () => toggle() });
  const tunnel = h("span", { class: "muted under" });
  const status = h("span", { class: "status" });
  const took = h("span");
  const size = h("span");
  const visitor = h("span");
  const td = (label, name, ...children) => h("td", { role: "cell", class: name, data: { label } }, children);
  const line = h(
    "tr",
    { role: "row", class: "request" },
    td("Time", "when mono", time),
    td("Method", "what", method),
    td("Path", "where", path, withTunnel ? tunnel : null),
    td("Status", "status-cell", status),
    td("Took", "right took", took),
    td("Size", "right size", size),
    td("Visitor", "mono wide", visitor),
  );
  const list = h("dl", { class: "facts" });
  const note = h("p", { class: "muted", text: "Headers and bodies stay with the agent." });
  const more = h("tr", { role: "row", class: "more-facts", hidden: true }, h("td", { role: "cell", colspan: "7" }, list, note));
  const element = h("tbody", { role: "rowgroup" }, line, more);
  let now = null;
  let before = "";
  function toggle() {
    visible(more, more.hidden);
    attribute(path, "aria-expanded", String(!more.hidden));
    if (!more.hidden) list.replaceChildren(...details(now));
    if (!more.hidden) link();
  }
  async function link() {
    // Which agent serves the name, and where its inspector is, may have changed since the request.
    const found = await call("GET", `/tunnels/${encodeURIComponent(now.tunnel)}`).catch(() => ({}));
    if (!found.inspector) return;
    const href = `http://127.0.0.1:${Number(found.inspector)}/?filter=${encodeURIComponent(alike(now))}`;
    const inspector = h("a", { href, target: "_blank", rel: "noopener noreferrer", text: "Open the inspector" });
    note.replaceChildren("Headers and bodies stay with the agent. On its machine: ", inspector, ".");
  }
  return {
    element,
    update(item) {
      now = item;
      const state = `${item.status} ${item.took} ${item.sent} ${item.error}`;
      if (state === before) return;
      before = state;
      setTime(item.began);
      put(method, item.method || item.protocol);
      put(path, item.target || NOTHING);
      attribute(path, "title", item.target || null);
      put(tunnel, item.tunnel);
      put(status, item.error ? "failed" : item.status ? String(item.status) : item.took === null ? "…" : NOTHING);
      attribute(status, "class", `status ${statusClass(item)}`);
      attribute(status, "title", item.error || item.reason || null);
      put(took, item.took === null ? "running" : duration(item.took));
      put(size, bytes(item.sent));
      put(visitor, item.visitor.replace(/:\d+$/, ""));
      attribute(visitor, "title", item.visitor);
      if (!more.hidden) list.replaceChildren(...details(item));
    },
  };
}

/** The list with its tools. `tunnel`: of this one alone; empty: of all. `hint`: a URL to visit. */
export function requestsPanel(tunnel, hint, lost) {
  const known = new Map();
  let test = () => true;
  let paused = false;
  let missed = 0;
  let dropped = 0;
  let due = 0;

  const frame = h("table", { role: "table", "aria-label": "Requests", class: "requests" });
  frame.append(
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        ["Time", "Method", "Path", "Status", "Took", "Size", "Visitor"].map((title) =>
          h("th", { scope: "col", role: "columnheader", class: title === "Took" || title === "Size" ? "right" : title === "Visitor" ? "wide" : "", text: title }),
        ),
      ),
    ),
  );
  const rows = new Keyed(frame, (item) => item.id, () => row(!tunnel));
  const trouble = h("span", { class: "trouble", id: "filter-trouble", role: "status" });
  const search = h("input", {
    type: "search",
    placeholder: "Filter: status:5xx method:POST path:/hook",
    "aria-label": "Filter requests",
    "aria-describedby": "filter-trouble",
    autocomplete: "off",
    spellcheck: "false",
    input: () => {
      try {
        test = filter(search.value);
        put(trouble, "");
        attribute(search, "aria-invalid", null);
      } catch (error) {
        if (!(error instanceof NoFilter)) throw error;
        put(trouble, error.message);
        attribute(search, "aria-invalid", "true");
      }
      render();
    },
  });
  const word = h("span", { text: "Pause" });
  const pause = h(
    "button",
    {
      type: "button",
      "aria-pressed": "false",
      class: "pause",
      click: () => {
        paused = !paused;
        attribute(pause, "aria-pressed", String(paused));
        pause.replaceChildren(icon(paused ? "play" : "pause"), word);
        put(word, paused ? "Go on" : "Pause");
        missed = 0;
        say();
        later();
      },
    },
    icon("pause"),
    word,
  );
  const live = badge("waiting");
  const counted = h("span", { class: "muted counted" });
  const gap = h("p", { class: "muted", hidden: true });
  const blank = empty("No request yet", "Requests show up here as they happen, with those of the last minutes. Try one, with --cacert ca.pem if the certificate is of the server's own CA:", `curl ${hint || "https://NAME.example.com/"}`);
  const scroll = h("div", { class: "frame" }, frame);
  visible(scroll, false);
  const element = h("div", { class: "listing" }, h("div", { class: "tools" }, search, pause, live.element, counted), trouble, gap, scroll, blank);

  function take(item) {
    const found = known.get(item.id);
    if (found && found.took !== null && item.took === null) return;
    known.set(item.id, item);
    if (!found && paused) missed += 1;
    later();
  }

  function later() {
    // One look at the page for all that came since the last.
    if (!due) due = requestAnimationFrame(render);
  }

  function render() {
    due = 0;
    put(counted, paused && missed ? `${missed} new` : `${known.size} kept`);
    if (paused && missed) return;
    const items = [...known.values()].sort((one, other) => (one.began < other.began ? 1 : one.began > other.began ? -1 : one.id < other.id ? 1 : -1));
    for (const item of items.splice(KEPT)) known.delete(item.id);
    rows.show(items.filter(test).slice(0, SHOWN));
    visible(scroll, known.size > 0);
    visible(blank, known.size === 0);
    put(gap, `${dropped} more came too quickly to be shown.`);
    visible(gap, dropped > 0);
  }

  const path = tunnel ? `/requests?tunnel=${encodeURIComponent(tunnel)}` : "/requests";
  let stream = null;
  let broken = true;
  const say = () => live.update(broken ? "waiting" : paused ? "paused" : "live");
  const stale = (yes) => {
    broken = yes;
    say();
  };

  async function catchUp() {
    // What happened before the live answer began, or while it was broken.
    try {
      const { items } = await list(path, KEPT);
      items.forEach(take);
    } catch {
      // The view's own poll tells.
    }
    stale(false);
    later();
  }

  return {
    element,
    start() {
      stream = new Stream(`/requests?follow=1${tunnel ? `&tunnel=${encodeURIComponent(tunnel)}` : ""}`, {
        item: take,
        begun: catchUp,
        gap: (more) => {
          dropped += more;
          later();
        },
        broken: () => {
          stale(true);
          lost();
        },
      });
    },
    stop() {
      if (stream) stream.stop();
      cancelAnimationFrame(due);
    },
  };
}

export function requestsView(context) {
  const panel = requestsPanel("", "", () => context.poll.now());
  panel.start();
  // The requests come by themselves; this tells whether the server is there, and the token good.
  return { title: "Requests", element: panel.element, every: 3000, refresh: () => call("GET", "/whoami"), stop: panel.stop };
}
