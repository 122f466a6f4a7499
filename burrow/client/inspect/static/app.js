// The inspector's page: the list, one request, and what the keys do.

import { compareView } from "./compare.js";
import { Detail, load } from "./detail.js";
import { ask, byId, el, openDialog, post, toast } from "./dom.js";
import { editDialog } from "./edit.js";
import { List } from "./list.js";
import { Live } from "./live.js";

const LISTED = 1000;
const KEYS = [["j, ↓", "next request"], ["k, ↑", "request before"], ["Enter", "go to the request"], ["r", "replay"], ["e", "edit and replay"], ["o", "replay to another port"], ["c", "compare: once for each of two"], ["/", "filter"], ["Esc", "back"], ["?", "these keys"]];

let tunnels = [];
let marked = null;
let filter = new URLSearchParams(location.search).get("filter") || "";
let shown = 0;

const list = new List((id) => go(`/requests/${id}`));
const detail = new Detail({ back: () => go("/"), replay, edit, compare, reload: () => later() });
const live = new Live(happened, connected);

// -- where we are ---------------------------------------------------------------------------------------

function go(path, replace = false) {
  const query = filter ? `?filter=${encodeURIComponent(filter)}` : "";
  if (path + query !== location.pathname + location.search) history[replace ? "replaceState" : "pushState"](null, "", path + query);
  route();
}

async function route() {
  const one = /^\/requests\/(\d+)$/.exec(location.pathname);
  const two = /^\/compare\/(\d+)\/(\d+)$/.exec(location.pathname);
  const now = ++shown;
  document.body.classList.toggle("one", Boolean(one || two));
  document.body.classList.toggle("two", Boolean(two));
  document.title = one ? `Request ${one[1]} · Burrow inspector` : "Burrow inspector";
  list.select(one ? one[1] : null);
  if (!one && !two) { detail.empty(tunnels); return; }
  try {
    if (one) {
      const found = await load(one[1]);
      if (now === shown) detail.show(found);
    } else {
      const pair = await Promise.all([load(two[1]), load(two[2])]);
      if (now === shown) { detail.one = null; byId("detail").replaceChildren(compareView(...pair, () => history.back())); byId("detail").scrollTop = 0; }
    }
  } catch (error) {
    if (now === shown) detail.failed(error.message);
  }
}

let waiting = 0;
function later() {
  if (waiting) return;
  waiting = setTimeout(async () => {
    waiting = 0;
    const id = detail.one?.id;
    if (!id) return;
    try {
      const found = await load(id);
      if (detail.one?.id === id) detail.show(found);
    } catch { /* it is not kept any more: what is shown stays */ }
  }, 150);
}

// -- what happens ---------------------------------------------------------------------------------------

async function refresh() {
  try {
    const answer = await ask(`/api/requests?limit=${LISTED}&filter=${encodeURIComponent(filter)}`);
    list.more = answer.headers.has("Link");
    list.set(await answer.json());
    byId("wrong").hidden = true;
    return answer.headers.get("Burrow-Last-Event");
  } catch (error) {
    byId("wrong").textContent = error.message;
    byId("wrong").hidden = error instanceof TypeError; // the agent is away, which is said elsewhere
    return null;
  }
}

let refreshing = 0;
function refreshSoon(within = 400) {
  if (!refreshing) refreshing = setTimeout(() => { refreshing = 0; refresh(); }, within);
}

function happened(kind, data) {
  if (kind === "reset") { refreshSoon(800); later(); return; }
  if (kind === "cleared") { list.set([]); return; }
  if (kind === "message") { detail.add(data.id, data.message); return; }
  countSoon();
  if (filter) refreshSoon();
  else list.update(data);
  if (detail.one?.id === data.id) later();
}

let wasAway = false;
function connected(there) {
  byId("state").textContent = there ? "live" : "away";
  byId("state").className = there ? "live" : "away";
  byId("away").hidden = there;
  if (there && wasAway) { about(); refresh(); }
  wasAway = !there;
}

/** What kinds count of their own, as in "redis: 12 passed, 3 refused". */
function counted(counts) {
  const words = (found) => Object.entries(found).map(([name, value]) => `${value} ${name.replaceAll("_", " ")}`).join(", ");
  byId("counts").textContent = Object.entries(counts).map(([kind, found]) => `${kind}: ${words(found)}`).join(" · ");
}

let counting = 0;
function countSoon() {
  if (!counting) counting = setTimeout(async () => {
    counting = 0;
    try { counted((await (await ask("/api/status")).json()).counts); } catch { /* said elsewhere */ }
  }, 1000);
}

async function about() {
  try {
    const status = await (await ask("/api/status")).json();
    ({ tunnels } = status);
    counted(status.counts);
    byId("tunnels").replaceChildren(...tunnels.slice(0, 6).map((tunnel) => el("a", { href: /^https?:/.test(tunnel.url) ? tunnel.url : undefined, target: "_blank", rel: "noreferrer noopener", title: `leads to ${tunnel.upstream}` }, tunnel.url.replace(/^https?:\/\//, ""))));
    if (location.pathname === "/") detail.empty(tunnels);
  } catch { /* said elsewhere */ }
}

// -- what can be done -----------------------------------------------------------------------------------

async function replay(id) {
  try {
    const again = await post(`/api/requests/${id}/replay`, { wait: 0 });
    toast(`Request ${id} is sent again as ${again.id}`);
    go(`/requests/${again.id}`);
  } catch (error) { toast(error.message); }
}

function edit(id, portFirst = false) {
  if (detail.one?.id === id) editDialog(detail.one, (again) => go(`/requests/${again}`), portFirst);
}

function compare(id) {
  if (marked && marked !== id) {
    const before = marked;
    marked = null;
    go(`/compare/${before}/${id}`);
  } else if (detail.one?.replay_of && !marked) {
    go(`/compare/${detail.one.replay_of}/${id}`);
  } else {
    marked = id;
    toast(`Request ${id} is marked: choose another, and press Compare there`);
  }
}

function keys() {
  openDialog("Keys", el("dl", { class: "keys" }, KEYS.map(([key, what]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)])));
}

// -- the page -------------------------------------------------------------------------------------------

let typing = 0;
byId("filter").value = filter;
byId("filter").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    filter = byId("filter").value.trim();
    byId("har").href = `/api/requests.har${filter ? `?filter=${encodeURIComponent(filter)}` : ""}`;
    history.replaceState(null, "", location.pathname + (filter ? `?filter=${encodeURIComponent(filter)}` : ""));
    refresh();
  }, 200);
});
byId("clear").addEventListener("click", async () => {
  try { await ask("/api/requests", { method: "DELETE" }); go("/"); } catch (error) { toast(error.message); }
});
byId("keys").addEventListener("click", keys);
byId("home").addEventListener("click", (event) => { event.preventDefault(); go("/"); });
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-open]");
  if (link && !event.ctrlKey && !event.metaKey) { event.preventDefault(); go(`/requests/${link.dataset.open}`); }
});
window.addEventListener("popstate", route);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("dialog").open) return;
  if (event.target.matches("input, textarea")) {
    if (event.key === "Escape") byId("list").focus();
    return;
  }
  const id = detail.one?.id;
  const move = (step) => { const next = list.neighbour(step); if (next) go(`/requests/${next}`, location.pathname !== "/"); };
  const actions = {
    j: () => move(1), k: () => move(-1), r: () => id && detail.one.protocol === "http" && replay(id), e: () => id && detail.one.protocol === "http" && edit(id),
    o: () => id && detail.one.protocol === "http" && edit(id, true), c: () => id && compare(id),
    "/": () => { byId("filter").focus(); byId("filter").select(); }, "?": keys, Escape: () => go("/"),
  };
  if (event.target === byId("list") || event.target === document.body) {
    Object.assign(actions, { ArrowDown: () => move(1), ArrowUp: () => move(-1), Enter: () => (id ? byId("detail").focus() : move(0)) });
  }
  if (Object.hasOwn(actions, event.key)) { event.preventDefault(); actions[event.key](); }
});

about();
route();
live.start((await refresh()) ?? "");
