// One request: what was asked, what was answered, and when.

import { bodyView, hex, bytesOf } from "./bodies.js";
import { ask, byId, clock, copy, el, seconds, shownMethod, size, statusClass, statusText, toast } from "./dom.js";

const SHOWN = 256 * 1024;
const MOST_MESSAGES = 1000;

export async function load(id, secrets = false) {
  return (await ask(`/api/requests/${id}?body=${SHOWN}${secrets ? "&secrets=1" : ""}`)).json();
}

export class Detail {
  constructor(actions) {
    this.actions = actions;
    this.place = byId("detail");
    this.one = null;
    this.revealed = new Set();
    this.chosen = {};
  }

  empty(tunnels) {
    this.one = null;
    const urls = tunnels.map((tunnel) => el("li", {}, el("a", { href: /^https?:/.test(tunnel.url) ? tunnel.url : undefined, target: "_blank", rel: "noreferrer noopener" }, tunnel.url), el("span", { class: "told" }, ` → ${tunnel.upstream}`)));
    this.place.replaceChildren(el("div", { class: "welcome" },
      el("img", { src: "/static/icon.svg", alt: "", width: 56, height: 56 }),
      el("h1", {}, "Choose a request"),
      el("p", {}, "Requests appear on the left as they come. ", el("kbd", {}, "j"), " ", el("kbd", {}, "k"), " go through them, ", el("kbd", {}, "r"), " sends one again, ", el("kbd", {}, "?"), " shows all keys."),
      urls.length ? el("ul", {}, urls) : null));
  }

  failed(text) {
    this.one = null;
    this.place.replaceChildren(el("div", { class: "welcome" }, el("h1", {}, "Not here"), el("p", {}, text)));
  }

  show(one) {
    const same = this.one && this.one.id === one.id;
    if (!same) { this.revealed.clear(); this.chosen = {}; }
    const scrolled = same ? this.place.scrollTop : 0;
    this.one = one;
    this.place.replaceChildren(this.head(one), this.facts(one), this.timing(one),
      one.messages ? this.messages(one) : null,
      ...(one.url ? [this.side(one, "response"), this.side(one, "request")] : []));
    for (const child of [...this.place.childNodes]) if (child.nodeType === 3) child.remove();
    this.place.scrollTop = scrolled;
  }

  head(one) {
    const button = (name, key, action, more = {}) => el("button", { type: "button", onclick: action, title: key ? `${name} (${key})` : name, ...more }, name);
    const http = one.protocol === "http";
    return el("div", { class: "detail-head" },
      el("div", { class: "title" },
        el("button", { type: "button", class: "plain back", "aria-label": "Back to the list", onclick: () => this.actions.back() }, "‹"),
        el("h1", {}, el("span", { class: "method" }, shownMethod(one)), " ", el("span", { class: "whole-path" }, one.path || one.tunnel)),
        el("span", { class: `badge ${statusClass(one)}` }, one.status ? `${one.status} ${one.reason}` : statusText(one))),
      el("div", { class: "actions", role: "toolbar", "aria-label": "What to do with this request" },
        http ? button("Replay", "r", () => this.actions.replay(one.id), { id: "replay", class: "primary" }) : null,
        http ? button("Edit and replay", "e", () => this.actions.edit(one.id), { id: "edit" }) : null,
        http ? button("Other port", "o", () => this.actions.edit(one.id, true), { id: "port" }) : null,
        button("Compare", "c", () => this.actions.compare(one.id), { id: "compare" }),
        one.url ? button("Copy as curl", "", () => this.curl(one), { id: "curl" }) : null,
        one.url ? el("a", { class: "button", href: `/api/requests/${one.id}/har`, download: true, title: "This request as an HTTP archive, without secrets" }, "HAR") : null,
        button("Copy link", "", () => copy(`${location.origin}/requests/${one.id}`, "The link"))));
  }

  async curl(one) {
    try { await copy((await (await ask(`/api/requests/${one.id}/curl`)).text()).trimEnd(), "The command, without secrets,"); } catch (error) { toast(error.message); }
  }

  facts(one) {
    const rows = [["URL", one.url], ["Tunnel", one.tunnel], ["Visitor", one.replay_of ? "the inspector" : one.visitor],
      ["Began", `${clock(one.began)}  ${one.began.slice(0, 10)}`], ["Request id", one.request_id], ["Error", one.error]];
    if (one.replay_of) rows.push(["Replay of", el("a", { href: `/requests/${one.replay_of}`, "data-open": one.replay_of }, `request ${one.replay_of}`)]);
    return el("dl", { class: "facts" }, rows.filter(([, value]) => value).map(([name, value]) => [el("dt", {}, name), el("dd", { class: name === "Error" ? "error" : undefined }, value)]));
  }

  timing(one) {
    if (one.took === null) return el("p", { class: "told times" }, "It is under way.");
    const whole = one.took || 1e-6;
    const connected = Math.min(one.waited ?? 0, whole);
    const first = Math.min(one.first_byte ?? whole, whole);
    const parts = [["connect", "Connected", connected], ["wait", "First byte", Math.max(first - connected, 0)], ["receive", "Rest", whole - Math.max(first, connected)]];
    const bar = el("div", { class: "timing", role: "img", "aria-label": parts.map(([, name, value]) => `${name} ${seconds(value)}`).join(", ") },
      parts.map(([kind, , value]) => { const part = el("i", { class: kind }); part.style.flexGrow = (100 * value) / whole; return part; }));
    return el("div", { class: "times" }, bar, el("p", {}, parts.map(([kind, name, value]) => el("span", {}, el("i", { class: `dot ${kind}` }), `${name} ${seconds(value)}`)),
      el("b", {}, seconds(one.took))));
  }

  side(one, which) {
    const { headers, body } = one[which];
    const name = which === "request" ? "Request" : "Response";
    if (which === "response" && one.status === null) {
      return el("section", { class: "side" }, el("h2", {}, name), el("p", { class: "none" }, one.error ? `There is none: ${one.error}.` : "There is none yet."));
    }
    return el("section", { class: "side", id: which },
      el("h2", {}, name, el("small", {}, `${size(body.size)} of body`)),
      el("details", { open: !this.chosen[`${which}-closed`], ontoggle: (event) => { this.chosen[`${which}-closed`] = !event.target.open; } },
        el("summary", {}, headers.length === 1 ? "1 header" : `${headers.length} headers`),
        el("table", { class: "fields" }, el("tbody", {}, headers.map(([key, value], position) => el("tr", {}, el("th", { scope: "row" }, key), el("td", {}, this.value(one, which, position, key, value))))))),
      one.protocol === "http" ? bodyView(body, `/api/requests/${one.id}/body/${which}`, which, this.chosen) : null);
  }

  value(one, which, position, key, value) {
    if (value !== "••••••••") return value;
    const place = el("span", {});
    const reveal = async () => {
      try {
        const told = one.revealed || (one.revealed = await load(one.id, true));
        place.replaceChildren(el("span", { class: "secret" }, told[which].headers[position][1]));
        this.revealed.add(`${which}-${position}`);
      } catch (error) { toast(error.message); }
    };
    place.append(el("button", { type: "button", class: "mask", title: "Show this secret", "aria-label": `Show the secret value of ${key}`, onclick: reveal }, value));
    if (this.revealed.has(`${which}-${position}`)) reveal();
    return place;
  }

  messages(one) {
    const list = el("ol", { class: "messages", "aria-live": "off", tabindex: 0, "aria-label": "Messages" }, one.message_list.map((each) => this.message(each)));
    this.list = list;
    const stream = one.protocol === "http";
    const section = el("section", { class: "side", id: "messages" },
      el("h2", {}, stream ? "Events" : "Messages", el("small", {}, `${one.messages}`)),
      one.messages_dropped ? el("p", { class: "note" }, `The first ${one.messages_dropped} are not kept.`) : null, list);
    queueMicrotask(() => { list.scrollTop = list.scrollHeight; });
    return section;
  }

  message(each) {
    const out = each.to === "visitor";
    const text = each.text ?? (each.kind === "close" ? "" : hex(bytesOf(each)));
    return el("li", { class: `message ${each.kind} ${out ? "down" : "up"}` },
      el("span", { class: "way-mark", title: out ? "to the visitor" : "to the upstream" }, out ? "↓" : "↑"),
      el("span", { class: "kind" }, each.kind), el("pre", {}, text),
      el("small", {}, `${size(each.size)}${each.truncated ? ", in part" : ""} ${clock(each.when)}`));
  }

  // Another message of the request that is shown.
  add(id, message) {
    if (!this.one || this.one.id !== id) return;
    if (!this.list || !this.list.isConnected) { this.actions.reload(); return; }
    const known = this.one.message_list;
    if (known.length && known[known.length - 1].number >= message.number) return;
    known.push(message);
    this.one.messages = message.number + 1;
    const atEnd = this.list.scrollTop + this.list.clientHeight >= this.list.scrollHeight - 30;
    this.list.append(this.message(message));
    while (this.list.childElementCount > MOST_MESSAGES) this.list.firstElementChild.remove();
    this.list.parentElement.querySelector("h2 small").textContent = String(this.one.messages);
    if (atEnd) this.list.scrollTop = this.list.scrollHeight;
  }
}
