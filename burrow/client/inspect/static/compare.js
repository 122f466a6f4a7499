// Two requests side by side, with what differs marked.

import { bytesOf, hex, prettyJson } from "./bodies.js";
import { el, seconds, size } from "./dom.js";

const MOST_CELLS = 4000000;

// Pairs of lines: the same, one alone, or one in the place of another.
export function differences(left, right) {
  let start = 0;
  while (start < left.length && start < right.length && left[start] === right[start]) start++;
  let end = 0;
  while (end < left.length - start && end < right.length - start && left[left.length - 1 - end] === right[right.length - 1 - end]) end++;
  const a = left.slice(start, left.length - end);
  const b = right.slice(start, right.length - end);
  const rows = left.slice(0, start).map((line) => [line, line]);
  let gone = [];
  let come = [];
  const flush = () => {
    for (let row = 0; row < Math.max(gone.length, come.length); row++) rows.push([gone[row] ?? null, come[row] ?? null]);
    gone = [];
    come = [];
  };
  if (a.length * b.length > MOST_CELLS) {
    gone = a;
    come = b;
  } else {
    const width = b.length + 1;
    const longest = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        longest[i * width + j] = a[i] === b[j] ? longest[(i + 1) * width + j + 1] + 1 : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
      }
    }
    let i = 0;
    let j = 0;
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { flush(); rows.push([a[i], b[j]]); i++; j++; }
      else if (j >= b.length || (i < a.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1])) gone.push(a[i++]);
      else come.push(b[j++]);
    }
  }
  flush();
  return rows.concat(left.slice(left.length - end).map((line) => [line, line]));
}

function bodyLines(body) {
  if (!body.size) return [];
  let text = body.text ?? hex(bytesOf(body));
  try { JSON.parse(text); text = prettyJson(text).map((token) => token[1]).join(""); } catch { /* no JSON */ }
  return text.split("\n").slice(0, 5000);
}

const fields = (headers) => headers.map(([name, value]) => `${name.toLowerCase()}: ${value}`).sort();

function section(name, left, right) {
  const rows = differences(left, right);
  const changed = rows.filter(([a, b]) => a !== b).length;
  const cell = (line, other, side) => el("td", { class: line === other ? undefined : line === null ? "nothing" : `differs ${side}` }, line ?? "");
  return el("section", { class: "compared" },
    el("h2", {}, name, el("small", { class: changed ? "changed" : undefined }, changed ? changed === 1 ? "1 line differs" : `${changed} lines differ` : "the same")),
    rows.length ? el("table", {}, el("tbody", {}, rows.map(([a, b]) => el("tr", {}, cell(a, b, "left"), cell(b, a, "right"))))) : el("p", { class: "none" }, "Both are empty"));
}

export function compareView(one, other, back) {
  const answer = (each) => (each.status ? `${each.status} ${each.reason}` : each.error || each.state);
  const head = (each) => el("div", {}, el("a", { href: `/requests/${each.id}`, "data-open": each.id }, `Request ${each.id}`), el("span", { class: "told" }, ` ${answer(each)} · ${seconds(each.took)} · ${size(each.sent)}${each.replay_of ? ` · replay of ${each.replay_of}` : ""}`));
  return el("div", { id: "comparison" },
    el("div", { class: "detail-head" }, el("div", { class: "title" }, el("button", { type: "button", class: "plain", "aria-label": "Back", onclick: back }, "‹"), el("h1", {}, "Compare")),
      el("div", { class: "pair" }, head(one), head(other))),
    section("Request line", [`${one.method} ${one.path}`], [`${other.method} ${other.path}`]),
    section("Request headers", fields(one.request.headers), fields(other.request.headers)),
    section("Request body", bodyLines(one.request.body), bodyLines(other.request.body)),
    section("Answer", [answer(one)], [answer(other)]),
    section("Response headers", fields(one.response.headers), fields(other.response.headers)),
    section("Response body", bodyLines(one.response.body), bodyLines(other.response.body)));
}
