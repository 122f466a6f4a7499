// The tunnels, live.

import { Stream, list, may } from "./api.js";
import { h, put } from "./dom.js";
import { count, rate } from "./format.js";
import { badge, empty, spark } from "./parts.js";
import { observe, of, total } from "./rates.js";
import { table, text, time } from "./table.js";

const MANY = 300;
const SAY = {
  open: "Its agent is connected.",
  detached: "Its agent lost its connection and is expected back.",
  away: "The node that has it does not answer.",
};

function tile(label, extra = null) {
  const value = h("span", { class: "value", text: "–" });
  const note = h("span", { class: "muted note" });
  return {
    element: h("div", { class: "tile" }, h("span", { class: "muted", text: label }), h("span", {}, value, note), extra),
    update(shown, more = "") {
      put(value, shown);
      put(note, more);
    },
  };
}

/** Path of a tunnel's own page. */
export function tunnelPath(name) {
  return `#/tunnels/${encodeURIComponent(name)}`;
}

function nameCell(td) {
  const name = h("a", { class: "strong" });
  const url = h("span", { class: "muted under" });
  td.append(name, url);
  return (item) => {
    put(name, item.name);
    const path = tunnelPath(item.name);
    if (name.getAttribute("href") !== path) name.setAttribute("href", path);
    put(url, item.url || item.kind);
    if (url.title !== (item.url || "")) url.title = item.url || "";
  };
}

function rateCell(td) {
  const line = spark();
  const value = h("span", { class: "number" });
  td.append(line.element, value);
  return (item) => {
    const found = of(item.name);
    line.update(found.samples);
    put(value, rate(found.rate));
  };
}

function stateCell(td) {
  const { element, update } = badge();
  td.append(element);
  return (item) => update(item.state, SAY[item.state]);
}

export function tunnelsView(context) {
  const all = spark(120, 32);
  const tiles = {
    open: tile("Tunnels"),
    visitors: tile("Visitors now"),
    rate: tile("Requests a second", all.element),
    requests: tile("Requests so far"),
  };
  const shown = table({
    label: "Tunnels",
    key: (item) => item.name,
    match: (item) => `${item.name} ${item.url || ""} ${item.owner} ${item.address || ""} ${item.state} ${item.kind} ${item.node}`,
    placeholder: "Find a tunnel, owner or address",
    columns: [
      { title: "Tunnel", class: "main", cell: nameCell, by: (item) => item.name },
      { title: "State", cell: stateCell, by: (item) => item.state },
      { title: "Owner", cell: text((item) => item.owner), by: (item) => item.owner },
      { title: "Agent", class: "mono wide", cell: text((item) => item.address, (item) => item.agent), by: (item) => item.address || "" },
      { title: "Visitors", class: "right wide", cell: text((item) => count(item.visitors)), by: (item) => item.visitors, down: true },
      { title: "Requests", class: "right rate", cell: rateCell, by: (item) => of(item.name).rate || 0, down: true },
      { title: "Since", class: "right wide", cell: time((item) => item.since), by: (item) => item.since, down: true },
    ],
    none: empty(
      "No tunnel is open",
      "On the machine that runs your service, type these two lines; the second with its port.",
      `burrow login ${location.origin} TOKEN`,
      "burrow http 3000",
    ),
  });
  let stream = null;
  return {
    title: "Tunnels",
    element: h("div", { class: "stack" }, h("div", { class: "tiles" }, Object.values(tiles).map((one) => one.element)), shown.element),
    every: 2000,
    async refresh() {
      const { items, unanswered } = await list("/tunnels");
      observe(items);
      const open = items.filter((item) => item.state === "open").length;
      tiles.open.update(count(items.length), items.length === open ? "open" : `${items.length - open} not connected`);
      tiles.visitors.update(count(items.reduce((sum, item) => sum + item.visitors, 0)));
      tiles.rate.update(rate(total.rate).replace("/s", ""));
      tiles.requests.update(count(items.reduce((sum, item) => sum + (item.requests || 0), 0)));
      all.update(total.samples);
      shown.update(items);
      context.unanswered(unanswered);
      context.poll.every = items.length > MANY ? 4000 : 2000;
      if (stream === null && may("viewer")) {
        // Whoever sees the events learns of a tunnel at once.
        stream = new Stream("/events?follow=1", {
          item: (event) => /tunnel|agent|node/.test(event.kind) && context.poll.now(),
          broken: () => context.poll.now(),
        });
      }
    },
    stop() {
      if (stream) stream.stop();
    },
  };
}
