// Shows bodies: JSON, forms, multipart, images, text, and anything else as hexadecimal.

import { el, size } from "./dom.js";

const MOST_HEX = 8192;
const MOST_TOKENS = 20000;

export function bytesOf(body) {
  if (body.base64 === undefined) return new TextEncoder().encode(body.text);
  return Uint8Array.from(atob(body.base64), (character) => character.charCodeAt(0));
}

function isJson(text) {
  try { JSON.parse(text); return true; } catch { return false; }
}

// The tokens of a JSON text, indented. Values stay as they are written: no number loses a digit.
export function prettyJson(text) {
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g) || [];
  const out = [];
  let depth = 0;
  const line = () => `\n${"  ".repeat(depth)}`;
  tokens.forEach((token, position) => {
    const next = tokens[position + 1];
    if (token === "{" || token === "[") {
      const closed = next === "}" || next === "]";
      depth += closed ? 0 : 1;
      out.push(["mark", closed ? token : token + line()]);
    } else if (token === "}" || token === "]") {
      const empty = ["{", "["].includes(tokens[position - 1]);
      depth -= empty ? 0 : 1;
      out.push(["mark", empty ? token : line() + token]);
    } else if (token === ",") out.push(["mark", token + line()]);
    else if (token === ":") out.push(["mark", ": "]);
    else if (token[0] === '"') out.push([next === ":" ? "key" : "string", token]);
    else out.push(["value", token]);
  });
  return out;
}

function jsonView(text) {
  const tokens = prettyJson(text);
  const plain = tokens.length > MOST_TOKENS;
  const parts = plain ? [tokens.map((token) => token[1]).join("")] : tokens.map(([kind, token]) => kind === "mark" ? token : el("span", { class: `json-${kind}` }, token));
  return el("pre", { class: "code", tabindex: 0 }, parts);
}

export function hex(bytes) {
  const lines = [];
  for (let start = 0; start < Math.min(bytes.length, MOST_HEX); start += 16) {
    const row = [...bytes.slice(start, start + 16)];
    const numbers = row.map((byte) => byte.toString(16).padStart(2, "0"));
    const left = numbers.slice(0, 8).join(" ").padEnd(23);
    const right = numbers.slice(8).join(" ").padEnd(23);
    const shown = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${start.toString(16).padStart(6, "0")}  ${left}  ${right}  ${shown}`);
  }
  if (bytes.length > MOST_HEX) lines.push(`… ${bytes.length - MOST_HEX} bytes more`);
  return lines.join("\n");
}

function pairs(rows) {
  return el("table", { class: "fields" }, el("tbody", {}, rows.map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value)))));
}

function multipart(body) {
  const found = /boundary="?([^";]+)"?/i.exec(body.type);
  if (!found) return null;
  const bytes = bytesOf(body);
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  const utf8 = (piece) => {
    const raw = Uint8Array.from(piece, (character) => character.charCodeAt(0));
    try { return new TextDecoder("utf-8", { fatal: true }).decode(raw); } catch { return null; }
  };
  const parts = `\r\n${text}`.split(`\r\n--${found[1]}`).slice(1).filter((part) => !part.startsWith("--"));
  return el("div", { class: "parts" }, parts.slice(0, 200).map((part) => {
    const split = part.indexOf("\r\n\r\n");
    const head = utf8(part.slice(0, split).trim()) || "";
    const content = part.slice(split + 4);
    const name = /name="([^"]*)"/i.exec(head);
    const file = /filename="([^"]*)"/i.exec(head);
    const shown = utf8(content);
    const binary = shown === null || /[\0-\x08]/.test(shown);
    return el("div", { class: "part" },
      el("h4", {}, name ? name[1] : "part", file ? el("span", { class: "tag" }, file[1]) : null, el("small", {}, size(content.length))),
      el("pre", { class: "code", tabindex: 0 }, binary ? hex(Uint8Array.from(content, (character) => character.charCodeAt(0))) : shown));
  }));
}

// The ways in which a body can be shown, the best first: pairs of a name and a function that makes the view.
function ways(body, source) {
  const kind = body.type.split(";")[0].trim().toLowerCase();
  const found = [];
  if (kind.startsWith("image/") && !body.truncated) {
    found.push(["Image", () => el("img", { class: "picture", src: source, alt: `The image that is the body, ${size(body.size)}` })]);
  }
  if (body.text !== undefined) {
    if (kind === "application/x-www-form-urlencoded") found.push(["Form", () => pairs([...new URLSearchParams(body.text)])]);
    if ((kind.includes("json") || /^\s*[[{]/.test(body.text)) && isJson(body.text)) found.push(["JSON", () => jsonView(body.text)]);
  }
  if (kind.startsWith("multipart/")) found.push(["Parts", () => multipart(body) || el("p", {}, "It has no boundary.")]);
  if (body.text !== undefined) found.push(["Text", () => el("pre", { class: "code", tabindex: 0 }, body.text)]);
  found.push(["Hex", () => el("pre", { class: "code hex", tabindex: 0 }, hex(bytesOf(body)))]);
  return found;
}

export function bodyView(body, source, what, chosen = {}) {
  if (!body.size) return el("p", { class: "none" }, "No body");
  const told = [body.type || "no type", size(body.size)];
  if (body.encoding) told.push(`${body.encoding}: ${size(body.decoded)} unpacked`);
  const place = el("div", { class: "body" });
  const buttons = [];
  const show = (position) => {
    place.replaceChildren(found[position][1]());
    buttons.forEach((button, number) => button.setAttribute("aria-pressed", number === position ? "true" : "false"));
  };
  const found = ways(body, source);
  found.forEach(([name], position) => buttons.push(el("button", { type: "button", class: "way", onclick: () => { chosen[what] = name; show(position); } }, name)));
  const before = found.findIndex(([name]) => name === chosen[what]);
  show(before < 0 ? 0 : before);
  return el("div", {},
    el("div", { class: "body-bar" }, buttons, el("span", { class: "told" }, told.join(" · ")), el("a", { href: source, download: true, class: "link" }, "Save")),
    body.error ? el("p", { class: "note" }, `Shown as it passed: ${body.error}`) : null,
    body.truncated ? el("p", { class: "note" }, `Shown in part: the first ${size(body.shown)}; ${size(body.kept)} of ${size(body.size)} are kept.`) : null,
    place);
}
