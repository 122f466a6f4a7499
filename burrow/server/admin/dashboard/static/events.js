// What happened, live, and who changed what.

import { Stream, call } from "./api.js";
import { Keyed, h, put, visible } from "./dom.js";
import { badge, empty, timeElement } from "./parts.js";
import { table, text, time } from "./table.js";

const KEPT = 300;

function tone(kind) {
  if (/fail|error|refus|revok|died|dead/.test(kind)) return "bad";
  if (/gone|closed|detached|lost|stopped|drain|released/.test(kind)) return "warn";
  return "good";
}

function row() {
  const { element, update } = timeElement(true);
  const dot = h("span", { class: "dot", "aria-hidden": "true" });
  const kind = h("span", { class: "kind muted" });
  const words = h("span", { class: "words" });
  return {
    element: h("li", {}, dot, element, words, kind),
    update(item) {
      update(item.when);
      dot.className = `dot ${tone(item.kind)}`;
      put(kind, item.kind);
      put(words, item.text);
    },
  };
}

export function eventsView(context) {
  const known = new Map();
  const listed = h("ol", { class: "events card", "aria-label": "Events" });
  const rows = new Keyed(listed, (item) => item.id, row);
  const search = h("input", { type: "search", placeholder: "Find in events", "aria-label": "Find in events", autocomplete: "off", input: () => show() });
  const none = h("p", { class: "muted none", text: "Nothing fits.", hidden: true });
  const blank = empty("Nothing has happened yet", "Events of the last day show up here as they happen.", "burrow events -f");
  let due = 0;

  function show() {
    due = 0;
    const wanted = search.value.trim().toLowerCase();
    const items = [...known.values()].sort((one, other) => (one.id < other.id ? 1 : -1));
    for (const item of items.splice(KEPT)) known.delete(item.id);
    const found = items.filter((item) => `${item.kind} ${item.text} ${item.node}`.toLowerCase().includes(wanted));
    rows.show(found);
    visible(listed, found.length > 0);
    visible(none, items.length > 0 && found.length === 0);
    visible(blank, items.length === 0);
  }

  function take(item) {
    known.set(item.id, item);
    if (!due) due = requestAnimationFrame(show);
  }

  async function refresh() {
    (await call("GET", `/events?limit=${KEPT}`)).items.forEach((item) => known.set(item.id, item));
    show();
  }

  const stream = new Stream("/events?follow=1", {
    item: take,
    begun: () => refresh().catch(() => {}),
    broken: () => context.poll.now(),
  });
  return {
    title: "Events",
    element: h("div", { class: "listing" }, h("div", { class: "tools" }, search), listed, none, blank),
    every: 3000,
    // The events come by themselves; this tells whether the server is there, and the token good.
    refresh: () => (known.size ? call("GET", "/whoami") : refresh()),
    stop() {
      stream.stop();
      cancelAnimationFrame(due);
    },
  };
}

function outcome(td) {
  const { element, update } = badge();
  const why = h("span", { class: "muted under" });
  td.append(element, why);
  return (item) => {
    const failed = item.result.startsWith("failed");
    update(failed ? "failed" : "ok");
    put(why, item.result === "ok" ? "" : item.result.replace(/^failed: /, ""));
    visible(why, item.result !== "ok");
  };
}

export function auditView() {
  const shown = table({
    label: "Audit log",
    key: (item) => `${item.when} ${item.who} ${item.action} ${item.target}`,
    match: (item) => `${item.who} ${item.action} ${item.target} ${item.address} ${item.result}`,
    placeholder: "Find who, what or where",
    columns: [
      { title: "When", class: "mono", cell: time((item) => item.when, true), by: (item) => item.when, down: true },
      { title: "Who", class: "main strong", cell: text((item) => item.who), by: (item) => item.who },
      { title: "Did", cell: text((item) => item.action), by: (item) => item.action },
      { title: "To", class: "mono", cell: text((item) => item.target), by: (item) => item.target },
      { title: "From", class: "mono", cell: text((item) => item.address), by: (item) => item.address },
      { title: "Result", cell: outcome, by: (item) => item.result },
    ],
    none: empty("Nobody changed anything", "Every change, here or by a command on the server, is kept for 90 days.", "burrow token list"),
  });
  return {
    title: "Audit",
    element: shown.element,
    every: 5000,
    async refresh() {
      shown.update((await call("GET", "/audit?limit=500")).items);
    },
    stop() {},
  };
}
