// The admin API and the sign-in, with the state of the connection to them.

const API = "/_burrow/api/v1";
const SESSION = "/_burrow/dashboard/session";
const TIMEOUT = 15000;

/** An error that the server answers: `detail` is a sentence for people. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** The server cannot be reached. */
export class Lost extends Error {}

/** Tells `lost`, `back` and `signedout`. `session`: who is signed in. */
export const link = Object.assign(new EventTarget(), { session: null, down: false });

function tell(type) {
  link.dispatchEvent(new Event(type));
}

/** Who is signed in may do what `role` may. */
export function may(role) {
  const roles = ["agent", "viewer", "admin"];
  return link.session !== null && roles.indexOf(link.session.role) >= roles.indexOf(role);
}

/** Who is signed in may change its own things. */
export function mayChange() {
  return link.session !== null && link.session.role !== "viewer";
}

async function ask(method, url, body) {
  const headers = { Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && link.session) headers["X-Burrow-CSRF"] = link.session.csrf;
  let answer;
  let data = null;
  try {
    answer = await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT),
    });
    const media = answer.headers.get("Content-Type") || "";
    if (answer.status !== 204 && media.includes("json")) data = await answer.json();
    else if (answer.status >= 500) throw new Lost(`The server answers ${answer.status}.`);
  } catch (error) {
    if (!(error instanceof Lost)) error = new Lost("The server does not answer.");
    if (!link.down) {
      link.down = true;
      tell("lost");
    }
    throw error;
  }
  if (link.down) {
    link.down = false;
    tell("back");
  }
  if (answer.ok) return data;
  throw new Problem(answer.status, (data && data.detail) || `The server answers ${answer.status}.`);
}

/** One operation of the admin API. */
export async function call(method, path, body) {
  try {
    return await ask(method, API + path, body);
  } catch (error) {
    if (error instanceof Problem && error.status === 401 && link.session !== null) {
      link.session = null;
      tell("signedout");
    }
    throw error;
  }
}

/** All items of a list, page by page. `unanswered`: nodes that did not. */
export async function list(path, most = 10000) {
  const items = [];
  let unanswered = [];
  let cursor = "";
  do {
    const query = `limit=1000${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
    const page = await call("GET", `${path}${path.includes("?") ? "&" : "?"}${query}`);
    items.push(...page.items);
    unanswered = page.unanswered || unanswered;
    cursor = page.next || "";
  } while (cursor && items.length < most);
  return { items, unanswered };
}

/** Find out who is signed in. */
export async function whoIsIt() {
  link.session = (await ask("GET", SESSION)).session;
  return link.session;
}

export async function signIn(token) {
  link.session = (await ask("POST", SESSION, { token })).session;
  return link.session;
}

export async function signOut() {
  await ask("DELETE", SESSION);
  link.session = null;
}

/**
 * Calls `refresh` again and again while the page is seen. After a failure it waits longer each time, and tells
 * with `next` in how many seconds it tries again.
 */
export class Poll {
  constructor(refresh, every) {
    this.refresh = refresh;
    this.every = every;
    this.failures = 0;
    this.next = 0;
    this.seen = () => (document.hidden ? clearTimeout(this.timer) : this.now());
    document.addEventListener("visibilitychange", this.seen);
    this.stopped = false;
  }

  async now() {
    clearTimeout(this.timer);
    if (this.stopped) return;
    if (this.running) {
      this.again = true;
      return;
    }
    this.running = true;
    this.again = false;
    let wait = this.every;
    try {
      await this.refresh();
      this.failures = 0;
    } catch (error) {
      if (!(error instanceof Lost) && !(error instanceof Problem)) console.error(error);
      this.failures += 1;
      wait = Math.min(1000 * 2 ** (this.failures - 1), 8000);
    }
    this.running = false;
    if (this.stopped || document.hidden) return;
    if (this.again && this.failures === 0) wait = Math.min(wait, 150);
    this.next = Date.now() + wait;
    this.timer = setTimeout(() => this.now(), wait);
  }

  stop() {
    this.stopped = true;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.seen);
  }
}

/**
 * Follows a live answer while the page is seen: a browser has six connections to a server, so hidden pages
 * give theirs back. `item` is called with each object, `begun` whenever it begins, also again; `gap` with how
 * many were left out; `broken` when it ends.
 */
export class Stream {
  constructor(path, { item, begun = () => {}, gap = () => {}, broken = () => {} }) {
    this.path = path;
    this.handlers = { item, begun, gap, broken };
    this.failures = 0;
    this.seen = () => (document.hidden ? this.close() : this.open());
    document.addEventListener("visibilitychange", this.seen);
    this.seen();
  }

  open() {
    this.close();
    const source = (this.source = new EventSource(API + this.path));
    source.onopen = () => {
      this.failures = 0;
      this.handlers.begun();
    };
    source.onmessage = (event) => this.handlers.item(JSON.parse(event.data), event.lastEventId);
    source.addEventListener("gap", (event) => this.handlers.gap(JSON.parse(event.data).dropped));
    source.addEventListener("end", () => this.fail());
    source.onerror = () => this.fail();
  }

  fail() {
    this.close();
    this.failures += 1;
    this.timer = setTimeout(() => this.open(), Math.min(500 * 2 ** this.failures, 8000));
    this.handlers.broken();
  }

  close() {
    clearTimeout(this.timer);
    if (this.source) this.source.close();
    this.source = null;
  }

  stop() {
    this.close();
    document.removeEventListener("visibilitychange", this.seen);
  }
}
