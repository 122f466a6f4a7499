// Tokens: who has one, a new one, another role, no more.

import { call, link, list, may } from "./api.js";
import { h } from "./dom.js";
import { count } from "./format.js";
import { carryOut, command, copyButton, dialog, empty, field, form, toast } from "./parts.js";
import { action, state, table, text, time } from "./table.js";

const ROLES = {
  agent: "opens tunnels, and sees its own",
  viewer: "sees everything, changes nothing",
  admin: "may do everything",
};

function roleChoice(chosen) {
  return h(
    "fieldset",
    { class: "choice" },
    h("legend", { text: "Role" }),
    Object.entries(ROLES).map(([role, what]) =>
      h(
        "label",
        {},
        h("input", { type: "radio", name: "role", value: role, checked: role === chosen }),
        h("span", {}, h("strong", { text: role }), " ", h("span", { class: "muted", text: what })),
      ),
    ),
  );
}

function shownOnce(made) {
  const secret = h("code", { class: "secret", text: made.secret, tabindex: "0" });
  dialog(
    `The token of ${made.name}`,
    h(
      "div",
      { class: "stack" },
      h("p", { text: "Copy it now: nobody can read it again." }),
      h("div", { class: "command" }, secret, copyButton(() => made.secret, "the token")),
      h("p", { class: "muted", text: "On the machine that is to use it:" }),
      command(`burrow login ${location.origin} -`),
    ),
    [h("button", { type: "submit", class: "primary", text: "I have it" })],
    true,
  );
}

export function tokensView(context) {
  const create = () =>
    form(
      "New token",
      [
        field("Name", { name: "name", maxlength: "63", placeholder: "laptop" }),
        roleChoice("agent"),
      ],
      "Create token",
      async (data) => {
        const made = await call("POST", "/tokens", { name: data.get("name").trim(), role: data.get("role") });
        context.poll.now();
        setTimeout(() => shownOnce(made));
      },
    );
  const change = (item) =>
    form(`The role of ${item.name}`, roleChoice(item.role), "Change role", async (data) => {
      await call("PATCH", `/tokens/${encodeURIComponent(item.id)}`, { role: data.get("role") });
      toast(`${item.name} has the role ${data.get("role")}.`);
      context.poll.now();
    });
  const revoke = (item) =>
    carryOut(
      `Revoke ${item.name}?`,
      `Its sessions end at once, and its names stay reserved.${link.session && item.id === link.session.id ? " You are signed in with this token: this signs you out." : ""}`,
      "Revoke token",
      () => call("DELETE", `/tokens/${encodeURIComponent(item.id)}`),
      `${item.name} is revoked.`,
    ).then((done) => done && context.poll.now());
  const columns = [
    { title: "Token", class: "main strong", cell: text((item) => item.name, (item) => item.id), by: (item) => item.name },
    { title: "Role", cell: state((item) => item.role, (item) => ROLES[item.role]), by: (item) => item.role },
    { title: "Names", class: "right", cell: text((item) => count(item.names)), by: (item) => item.names, down: true },
    { title: "Created", class: "right", cell: time((item) => item.created), by: (item) => item.created, down: true },
    { title: "Last used", class: "right", cell: time((item) => item.last_used), by: (item) => item.last_used || "", down: true },
  ];
  if (may("admin")) {
    columns.push(
      { title: "", class: "right act", cell: action("Role", (item) => `of ${item.name}`, () => true, change) },
      { title: "", class: "right act", cell: action("Revoke", (item) => item.name, () => true, revoke) },
    );
  }
  const shown = table({
    label: "Tokens",
    key: (item) => item.id,
    match: (item) => `${item.name} ${item.role} ${item.id}`,
    placeholder: "Find a token",
    columns,
    none: empty("There is no token", "On the server, type:", "burrow token create NAME --role agent"),
  });
  return {
    title: "Tokens",
    aside: may("admin") ? [h("button", { type: "button", class: "primary", text: "New token", click: create })] : [],
    element: shown.element,
    every: 5000,
    async refresh() {
      shown.update((await list("/tokens")).items);
    },
    stop() {},
  };
}
