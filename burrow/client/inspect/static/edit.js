// Edits a request before it is sent again.

import { el, openDialog, post } from "./dom.js";

export function editDialog(one, sent, portFirst = false) {
  const body = one.request.body;
  const editable = !body.size || (body.text !== undefined && !body.truncated);
  const method = el("input", { id: "edit-method", value: one.method, "aria-label": "Method", size: 8, maxlength: 50, list: "methods", spellcheck: "false", autocomplete: "off" });
  const path = el("input", { id: "edit-path", value: one.path, "aria-label": "Path and query", spellcheck: "false", autocomplete: "off" });
  const headers = el("textarea", { id: "edit-headers", class: "code", rows: Math.min(one.request.headers.length + 1, 9), spellcheck: "false" });
  headers.value = one.request.headers.map(([name, value]) => `${name}: ${value}`).join("\n");
  const content = el("textarea", { id: "edit-body", class: "code", rows: 8, spellcheck: "false", disabled: !editable });
  content.value = editable ? body.text ?? "" : "";
  const before = content.value;
  const port = el("input", { id: "edit-port", inputmode: "numeric", size: 8, placeholder: "the tunnel's", spellcheck: "false", autocomplete: "off" });
  const wrong = el("p", { class: "wrong", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    const changes = { wait: 0, method: method.value.trim(), path: path.value };
    changes.headers = headers.value.split("\n").filter((line) => line.trim()).map((line) => {
      const colon = line.indexOf(":");
      return colon < 0 ? [line.trim(), ""] : [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
    });
    if (editable && content.value !== before) changes.body = content.value;
    const where = port.value.trim();
    if (/^\d+$/.test(where)) changes.port = Number(where);
    else if (where) changes.upstream = where;
    try {
      const again = await post(`/api/requests/${one.id}/replay`, changes);
      dialog.close();
      sent(again.id);
    } catch (error) { wrong.textContent = error.message; }
  };
  const note = editable ? null : body.truncated
    ? el("p", { class: "note" }, "Only a part of the body is shown: it is sent as it was, if all of it was kept.")
    : el("p", { class: "note" }, "The body is not text: it is sent as it was.");
  const dialog = openDialog("Edit and replay", el("form", { class: "edit", onsubmit: submit },
    el("div", { class: "line" }, method, path),
    el("datalist", { id: "methods" }, ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"].map((name) => el("option", { value: name }))),
    el("label", { for: "edit-headers" }, "Headers", el("small", {}, "a line each; what is masked is sent as it was")), headers,
    el("label", { for: "edit-body" }, "Body"), note, content,
    el("label", { for: "edit-port" }, "Port", el("small", {}, "of this machine, or HOST:PORT or a URL")), port,
    wrong,
    el("div", { class: "dialog-foot" }, el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), el("button", { type: "submit", id: "edit-send", class: "primary" }, "Send"))));
  (portFirst ? port : path).focus();
}
