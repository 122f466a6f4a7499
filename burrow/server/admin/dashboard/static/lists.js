// Sessions, names, certificates and nodes.

import { call, list, may, mayChange } from "./api.js";
import { h } from "./dom.js";
import { count, duration, short, until } from "./format.js";
import { carryOut, empty, field, form, toast } from "./parts.js";
import { action, state, table, text, time } from "./table.js";
import { tunnelPath } from "./tunnels.js";

function listView(context, title, path, shown, every = 4000) {
  return {
    title,
    element: shown.element,
    every,
    async refresh() {
      const { items, unanswered } = await list(path);
      shown.update(items);
      context.unanswered(unanswered);
    },
    stop() {},
  };
}

function links(td) {
  let before = "";
  return (item) => {
    const names = item.tunnels.join(" ");
    if (names === before) return;
    before = names;
    const few = item.tunnels.slice(0, 3).flatMap((name, index) => [index ? ", " : "", h("a", { href: tunnelPath(name), text: name })]);
    const more = item.tunnels.length - 3;
    td.replaceChildren(...few, more > 0 ? ` and ${more} more` : item.tunnels.length ? "" : "–");
  };
}

export function sessionsView(context) {
  const end = (item) =>
    carryOut(
      "End this session?",
      `What runs through the tunnels of ${item.token} at ${item.address} is cut. The agent connects again, with a new session, unless its token was revoked.`,
      "End session",
      () => call("DELETE", `/sessions/${encodeURIComponent(item.id)}`),
      "The session has ended.",
    ).then((done) => done && context.poll.now());
  const columns = [
    { title: "Agent", class: "main mono", cell: text((item) => item.address, (item) => `Agent ${item.agent}`), by: (item) => item.address },
    { title: "State", cell: state((item) => item.state), by: (item) => item.state },
    { title: "Token", cell: text((item) => item.token), by: (item) => item.token },
    { title: "Tunnels", cell: links, by: (item) => item.tunnels.length, down: true },
    { title: "Streams", class: "right wide", cell: text((item) => count(item.streams)), by: (item) => item.streams, down: true },
    { title: "Round trip", class: "right", cell: text((item) => duration(item.round_trip)), by: (item) => item.round_trip || 0, down: true },
    { title: "Release", class: "wide", cell: text((item) => item.version), by: (item) => item.version },
    { title: "Node", class: "wide mono", cell: text((item) => short(item.node), (item) => item.node), by: (item) => item.node },
    { title: "Since", class: "right", cell: time((item) => item.since), by: (item) => item.since, down: true },
  ];
  if (mayChange()) columns.push({ title: "", class: "right act", cell: action("End", (item) => `the session of ${item.token} at ${item.address}`, () => true, end) });
  const shown = table({
    label: "Sessions",
    columns,
    key: (item) => item.id,
    match: (item) => `${item.address} ${item.token} ${item.agent} ${item.node} ${item.state} ${item.version} ${item.tunnels.join(" ")}`,
    placeholder: "Find an agent, token or tunnel",
    none: empty("No agent is connected", "An agent connects when somebody opens a tunnel:", `burrow login ${location.origin} TOKEN`, "burrow http 3000"),
  });
  return listView(context, "Sessions", "/sessions", shown);
}

export function namesView(context) {
  const release = (item) =>
    carryOut(
      `Release ${item.name}?`,
      `Whoever asks first may have the name${item.port ? ` and port ${item.port}` : ""} then.${item.open ? " Its tunnel is open, and is closed by this." : ""}`,
      "Release name",
      () => call("DELETE", `/names/${encodeURIComponent(item.name)}${item.open ? "?force=true" : ""}`),
      `${item.name} is free.`,
    ).then((done) => done && context.poll.now());
  const transfer = async (item) => {
    const known = await list("/tokens").then(({ items }) => items, () => []);
    const owners = h("datalist", { id: "owners" }, known.map(({ name }) => h("option", { value: name })));
    const lost = item.open ? " Its tunnel is open, and is closed by this." : "";
    form(
      `Another owner of ${item.name}`,
      [h("p", { text: `The agents of this token may open it then, and ${item.owner}'s may not.${lost}` }), field("Token", { name: "owner", list: "owners" }), owners],
      "Transfer name",
      async (data) => {
        const owner = data.get("owner").trim();
        await call("PATCH", `/names/${encodeURIComponent(item.name)}${item.open ? "?force=true" : ""}`, { owner });
        toast(`${item.name} is ${owner}'s now.`);
        context.poll.now();
      },
    );
  };
  const columns = [
    { title: "Name", class: "main strong", cell: text((item) => item.name), by: (item) => item.name },
    { title: "Tunnel", cell: state((item) => (item.open ? "open" : "closed")), by: (item) => (item.open ? 0 : 1) },
    { title: "Kind", cell: text((item) => item.kind), by: (item) => item.kind },
    { title: "Owner", cell: text((item) => item.owner), by: (item) => item.owner },
    { title: "Port", class: "right", cell: text((item) => item.port), by: (item) => item.port || 0 },
    { title: "Upstream", class: "mono wide", cell: text((item) => item.upstream), by: (item) => item.upstream },
    { title: "Reserved", class: "right wide", cell: time((item) => item.reserved), by: (item) => item.reserved, down: true },
    { title: "Last open", class: "right", cell: time((item) => item.last_seen), by: (item) => item.last_seen || "", down: true },
  ];
  if (may("admin")) columns.push({ title: "", class: "right act", cell: action("Transfer", (item) => item.name, () => true, transfer) });
  if (mayChange()) columns.push({ title: "", class: "right act", cell: action("Release", (item) => item.name, () => true, release) });
  const shown = table({
    label: "Names",
    columns,
    key: (item) => item.name,
    match: (item) => `${item.name} ${item.owner} ${item.kind} ${item.upstream} ${item.port || ""}`,
    placeholder: "Find a name, owner or port",
    none: empty("Nobody owns a name", "A name belongs to the token that first opens a tunnel with it:", "burrow http 3000 --name blog"),
  });
  return listView(context, "Names", "/names", shown);
}

export function certificatesView(context) {
  const shown = table({
    label: "Certificates",
    key: (item) => item.host,
    match: (item) => `${item.host} ${item.issuer || ""} ${item.state} ${item.error || ""}`,
    placeholder: "Find a host or issuer",
    columns: [
      { title: "Host", class: "main strong", cell: text((item) => item.host), by: (item) => item.host },
      { title: "State", cell: state((item) => item.state, (item) => item.error), by: (item) => item.state },
      { title: "Expires", cell: text((item) => until(item.not_after), (item) => item.not_after || ""), by: (item) => item.not_after || "" },
      { title: "Issuer", class: "wide", cell: text((item) => item.issuer), by: (item) => item.issuer || "" },
      { title: "Renewed from", class: "right wide", cell: time((item) => item.next_try), by: (item) => item.next_try || "" },
      { title: "Trouble", class: "trouble-cell", cell: text((item) => item.error), by: (item) => item.error || "" },
    ],
    none: empty("There is no certificate", "Each name gets one before its tunnel opens. With --tls off, the proxy in front has them.", "burrow http 3000"),
  });
  return listView(context, "Certificates", "/certificates", shown, 10000);
}

export function nodesView(context) {
  const drain = (item) =>
    carryOut(
      `Drain ${item.id}?`,
      "Its agents and visitors go to the other nodes, and it takes no more connections. It stays until it is stopped; there is no way back.",
      "Drain node",
      () => call("POST", `/nodes/${encodeURIComponent(item.id)}/drain`),
      `${item.id} drains.`,
    ).then((done) => done && context.poll.now());
  const columns = [
    { title: "Node", class: "main mono", cell: text((item) => item.id), by: (item) => item.id },
    {
      title: "State",
      cell: state(
        (item) => (item.answers ? (item.draining ? "draining" : "open") : "silent"),
        (item) => (item.answers ? null : "It does not answer the node that you ask."),
      ),
      by: (item) => (item.answers ? 0 : 1),
    },
    { title: "Address", class: "mono wide", cell: text((item) => item.address), by: (item) => item.address },
    { title: "Release", cell: text((item) => item.version), by: (item) => item.version },
    { title: "Tunnels", class: "right", cell: text((item) => count(item.tunnels)), by: (item) => item.tunnels || 0, down: true },
    { title: "Sessions", class: "right", cell: text((item) => count(item.sessions)), by: (item) => item.sessions, down: true },
    { title: "Visitors", class: "right", cell: text((item) => count(item.visitors)), by: (item) => item.visitors || 0, down: true },
    { title: "Started", class: "right", cell: time((item) => item.started), by: (item) => item.started, down: true },
  ];
  if (may("admin")) columns.push({ title: "", class: "right act", cell: action("Drain", (item) => item.id, (item) => !item.draining, drain) });
  const shown = table({
    label: "Nodes",
    key: (item) => item.id,
    columns,
    none: empty("No node answers", "A node is a server process:", "burrow server --domain example.com"),
  });
  return listView(context, "Nodes", "/nodes", shown);
}
