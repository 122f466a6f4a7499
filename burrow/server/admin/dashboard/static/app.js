// The page: who is signed in, which view is shown, and whether the server can be reached.

import { Lost, Poll, link, may, signOut, whoIsIt } from "./api.js";
import { attribute, h, icon, put, visible } from "./dom.js";
import { auditView, eventsView } from "./events.js";
import { certificatesView, namesView, nodesView, sessionsView } from "./lists.js";
import { badge, toast } from "./parts.js";
import { requestsView } from "./requests.js";
import { signInPage } from "./signin.js";
import { tokensView } from "./tokens.js";
import { tunnelView } from "./tunnel.js";
import { tunnelsView } from "./tunnels.js";

const VIEWS = [
  ["tunnels", "Tunnels", "agent", tunnelsView],
  ["requests", "Requests", "agent", requestsView],
  ["sessions", "Sessions", "agent", sessionsView],
  ["names", "Names", "agent", namesView],
  ["certificates", "Certificates", "viewer", certificatesView],
  ["nodes", "Nodes", "viewer", nodesView],
  ["tokens", "Tokens", "viewer", tokensView],
  ["events", "Events", "viewer", eventsView],
  ["audit", "Audit", "viewer", auditView],
];
const app = document.getElementById("app");
let shell = null;
let current = null;

// -- the connection ------------------------------------------------------------------------------------------

const lostText = h("span");
const tryNow = h("button", { type: "button", class: "small", text: "Try now", click: () => (current ? current.poll.now() : boot()) });
const lost = h("div", { class: "lost", role: "alert", hidden: true }, lostText, tryNow);
let ticking = null;

function tick() {
  const wait = current ? Math.max(0, Math.ceil((current.poll.next - Date.now()) / 1000)) : 0;
  put(lostText, `Connection to the server lost: what you see is old. ${wait ? `Next try in ${wait} s.` : "Trying again…"}`);
}

link.addEventListener("lost", () => {
  tick();
  visible(lost, true);
  document.body.classList.add("stale");
  clearInterval(ticking);
  ticking = setInterval(tick, 500);
});

link.addEventListener("back", () => {
  clearInterval(ticking);
  document.body.classList.remove("stale");
  visible(lost, false);
  toast("Connected again.");
});

link.addEventListener("signedout", () => showSignIn("You were signed out: the token was revoked, or half a day has passed."));

// -- colours -------------------------------------------------------------------------------------------------

const THEMES = { "": "System's colours", light: "Light", dark: "Dark" };

function themeButton() {
  const name = h("span");
  const now = () => document.documentElement.dataset.theme || "";
  const show = () => {
    put(name, THEMES[now()]);
    attribute(button, "aria-label", `Colours: ${THEMES[now()]}. Change`);
  };
  const button = h(
    "button",
    {
      type: "button",
      class: "quiet wide-button theme",
      click: () => {
        const names = Object.keys(THEMES);
        const next = names[(names.indexOf(now()) + 1) % names.length];
        if (next) document.documentElement.dataset.theme = next;
        else delete document.documentElement.dataset.theme;
        try {
          if (next) localStorage.setItem("burrow-theme", next);
          else localStorage.removeItem("burrow-theme");
        } catch {
          // It holds until the page is left.
        }
        show();
      },
    },
    icon("theme"),
    name,
  );
  show();
  return button;
}

// -- the frame -----------------------------------------------------------------------------------------------

function makeShell() {
  const { name, role, version, domain } = link.session;
  const entries = VIEWS.filter(([, , least]) => may(least)).map(([path, title]) =>
    h("a", { href: `#/${path}`, data: { path } }, icon(path), h("span", { text: title })),
  );
  const nav = h("nav", { id: "nav", "aria-label": "Views" }, entries);
  const foot = h(
    "div",
    { class: "foot" },
    h("div", { class: "who" }, h("span", { class: "strong who-name", text: name }), badge(role).element),
    themeButton(),
    h(
      "button",
      {
        type: "button",
        class: "quiet wide-button",
        click: async () => {
          try {
            await signOut();
            showSignIn("");
          } catch (error) {
            toast(error.message, true);
          }
        },
      },
      icon("leave"),
      h("span", { text: "Sign out" }),
    ),
    h("a", { class: "muted small-text", href: "/_burrow/api/v1/docs", text: `Burrow ${version} · API` }),
  );
  const menu = h(
    "button",
    {
      type: "button",
      class: "quiet menu",
      "aria-expanded": "false",
      "aria-controls": "side-body",
      "aria-label": "Menu",
      click: () => open(menu.getAttribute("aria-expanded") !== "true"),
    },
    icon("menu"),
  );
  const open = (yes) => {
    attribute(menu, "aria-expanded", String(yes));
    side.classList.toggle("opened", yes);
  };
  const side = h(
    "header",
    { class: "side", keydown: (event) => event.key === "Escape" && (open(false), menu.focus()) },
    h(
      "div",
      { class: "brand" },
      h("img", { src: "/_burrow/dashboard/icon.svg", alt: "", width: "28", height: "28" }),
      h("div", {}, h("strong", { text: "Burrow" }), h("span", { class: "muted under", text: domain })),
      menu,
    ),
    h("div", { id: "side-body", class: "side-body" }, nav, foot),
  );
  const back = h("a", { class: "back" });
  const heading = h("h1", { tabindex: "-1" });
  const aside = h("div", { class: "aside" });
  const silent = h("p", { class: "notice", role: "status", hidden: true });
  const trouble = h("p", { class: "notice bad", role: "alert", hidden: true });
  const content = h("div", { class: "content" });
  const main = h("main", { id: "main", tabindex: "-1" }, back, h("div", { class: "title" }, heading, aside), silent, trouble, content);
  const skip = h("a", {
    class: "skip",
    href: "#main",
    text: "Skip to the content",
    click: (event) => {
      event.preventDefault();
      heading.focus();
    },
  });
  app.replaceChildren(skip, lost, h("div", { class: "shell" }, side, main));
  return { entries, back, heading, aside, silent, trouble, content, open };
}

// -- views ---------------------------------------------------------------------------------------------------

function find() {
  const [path, name] = location.hash.replace(/^#\/?/, "").split("/");
  const found = VIEWS.find((view) => view[0] === path && may(view[2])) || VIEWS[0];
  if (found[0] === "tunnels" && path === "tunnels" && name) {
    try {
      return [found, decodeURIComponent(name)];
    } catch {
      return [found, ""];
    }
  }
  return [found, ""];
}

function leave() {
  if (current) {
    current.poll.stop();
    current.view.stop();
  }
  current = null;
}

function show(first = false) {
  leave();
  const [[path, , , make], name] = find();
  const context = {
    poll: new Poll(async () => {
      try {
        await view.refresh();
        visible(shell.trouble, false);
      } catch (error) {
        if (!(error instanceof Lost) && link.session) {
          put(shell.trouble, error.message);
          visible(shell.trouble, true);
        }
        throw error;
      }
    }, 2000),
    unanswered(nodes) {
      put(shell.silent, nodes.length ? `Not all is shown: ${nodes.join(", ")} did not answer in time.` : "");
      visible(shell.silent, nodes.length > 0);
    },
  };
  const view = name ? tunnelView(context, name) : make(context);
  context.poll.every = view.every;
  current = { view, poll: context.poll };
  for (const entry of shell.entries) attribute(entry, "aria-current", entry.dataset.path === path ? "page" : null);
  shell.open(false);
  context.unanswered([]);
  visible(shell.trouble, false);
  visible(shell.back, Boolean(view.back));
  if (view.back) {
    shell.back.replaceChildren(icon("back"), view.back[1]);
    shell.back.href = view.back[0];
  }
  put(shell.heading, view.title);
  shell.aside.replaceChildren(...(view.aside || []));
  shell.content.replaceChildren(view.element);
  document.title = `${view.title} · Burrow`;
  if (!first) {
    scrollTo(0, 0);
    shell.heading.focus({ preventScroll: true });
  }
  context.poll.now();
}

function showSignIn(why) {
  leave();
  shell = null;
  document.querySelectorAll("dialog").forEach((dialog) => dialog.remove());
  const page = signInPage(() => {
    shell = makeShell();
    show();
  }, why);
  document.title = "Sign in · Burrow";
  app.replaceChildren(lost, page.element);
  page.focus();
}

addEventListener("hashchange", () => shell && show());

async function boot() {
  try {
    await whoIsIt();
  } catch {
    app.replaceChildren(lost);
    visible(lost, true);
    put(lostText, "The server does not answer. Trying again…");
    setTimeout(boot, 2000);
    return;
  }
  if (link.session === null) showSignIn("");
  else {
    shell = makeShell();
    show(true);
  }
}

boot();
