// One tunnel, with its requests as they happen.

import { Problem, call, mayChange } from "./api.js";
import { h, icon, put, visible } from "./dom.js";
import { bytes, count, rate, short } from "./format.js";
import { badge, carryOut, copyButton, spark, timeElement } from "./parts.js";
import { single } from "./rates.js";
import { requestsPanel } from "./requests.js";

function fact(label, ...content) {
  return h("div", {}, h("dt", { text: label }), h("dd", {}, content));
}

/** The options that its owner set, as on the command line; of a secret only that it is set. */
export function flags(options) {
  return Object.entries(options || {})
    .flatMap(([key, value]) => (Array.isArray(value) ? value : [value]).map((one) => (one === true ? `--${key}` : `--${key} ${one}`)))
    .join("\n");
}

export function tunnelView(context, name) {
  const path = `/tunnels/${encodeURIComponent(name)}`;
  const state = badge();
  const since = timeElement();
  const line = spark(240, 44);
  const own = single();
  const url = h("a", { target: "_blank", rel: "noopener noreferrer", class: "url" });
  const plain = h("span", { class: "url mono" });
  const values = Object.fromEntries(
    ["owner", "agent", "address", "upstream", "node", "visitors", "requests", "received", "sent", "rate", "options"].map((key) => [key, h("span")]),
  );
  for (const key of ["received", "sent"]) values[key].title = "since it opened, heads included";
  let now = null;
  let panel = null;
  let gone = false;
  const place = h("div");
  const close = h("button", {
    type: "button",
    class: "danger",
    text: "Close tunnel",
    hidden: true,
    click: () =>
      carryOut(
        `Close ${name}?`,
        "Visitors cannot reach it from now on. What runs through it goes on to its end, and the name stays its owner's. Its agent does not open it again by itself.",
        "Close tunnel",
        () => call("DELETE", path),
        `${name} is closed.`,
      ).then((done) => done && context.poll.now()),
  });
  const closed = h("p", { class: "notice", role: "status", hidden: true, text: "This tunnel is closed. If its agent opens it again, this page goes on." });
  const options = fact("Options", h("span", { class: "mono lines" }, values.options));
  options.classList.add("all");
  const facts = h(
    "div",
    { class: "card" },
    h(
      "dl",
      { class: "facts" },
      fact("Owner", values.owner),
      fact("Agent", h("span", { class: "mono" }, values.address)),
      fact("Agent's id", values.agent),
      fact("Upstream", h("span", { class: "mono" }, values.upstream)),
      fact("Node", values.node),
      fact("Open since", since.element),
      fact("Visitors now", values.visitors),
      fact("Requests", values.requests),
      fact("Received", values.received),
      fact("Sent", values.sent),
      options,
    ),
    h("div", { class: "big-rate" }, line.element, h("span", { class: "value" }, values.rate), h("span", { class: "muted", text: "requests" })),
  );

  function show(item) {
    now = item;
    state.update(item.state);
    since.update(item.since);
    const web = /^https?:\/\//.test(item.url || "");
    put(url, web ? item.url : "");
    if (web && url.getAttribute("href") !== item.url) url.href = item.url;
    visible(url, web);
    put(plain, web ? "" : item.url || "");
    own.observe(item);
    line.update(own.found.samples);
    put(values.rate, rate(own.found.rate));
    put(values.owner, item.owner);
    put(values.agent, short(item.agent));
    values.agent.title = item.agent || "";
    put(values.address, item.address || "–");
    put(values.upstream, item.upstream || "–");
    put(values.node, item.node);
    put(values.visitors, count(item.visitors));
    put(values.requests, count(item.requests));
    put(values.received, bytes(item.received));
    put(values.sent, bytes(item.sent));
    put(values.options, flags(item.options));
    visible(options, values.options.textContent !== "");
    visible(close, mayChange());
    visible(closed, false);
    if (panel === null) {
      panel = requestsPanel(name, item.url, () => context.poll.now());
      place.append(panel.element);
      panel.start();
    }
  }

  return {
    title: name,
    back: ["#/tunnels", "Tunnels"],
    aside: [state.element, close],
    element: h(
      "div",
      { class: "stack" },
      h("div", { class: "line" }, url, plain, copyButton(() => (now && now.url) || "", "the URL")),
      closed,
      facts,
      h("h2", {}, icon("requests"), "Requests"),
      place,
    ),
    every: 2000,
    async refresh() {
      try {
        show(await call("GET", path));
        gone = false;
      } catch (error) {
        if (!(error instanceof Problem) || error.status !== 404) throw error;
        if (!gone) state.update("closed");
        gone = true;
        visible(closed, true);
        visible(close, false);
        if (now === null) {
          put(closed, "There is no open tunnel of this name that your token may see.");
          visible(facts, false);
        }
      }
    },
    stop() {
      if (panel) panel.stop();
    },
  };
}
