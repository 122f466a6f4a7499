// The filter language of burrow/traffic/filter.py, which has its description; tests compare the two.

const WORD = /(-?)(?:([A-Za-z-]+):)?(?:"([^"]*)"?|(\S+))/g;
const UNITS = { time: { ms: 0.001, s: 1, m: 60 }, size: { "": 1, b: 1, kb: 1e3, mb: 1e6, gb: 1e9 } };
const COMPARE = {
  ">=": (one, other) => one >= other,
  "<=": (one, other) => one <= other,
  ">": (one, other) => one > other,
  "<": (one, other) => one < other,
};
const KEYS = ["status", "method", "path", "host", "tunnel", "visitor", "is", "time", "size"];

/** It is none: `message` says what would be. */
export class NoFilter extends Error {}

function status(value) {
  const tests = value.split(",").map((part) => {
    const found = /^(?:(>=|<=|>|<)?([1-9]\d\d)|([1-9])xx)$/.exec(part);
    if (!found) {
      const examples = "status:404, status:5xx, status:>=400 or status:200,304";
      throw new NoFilter(`status:${value} is not possible: write ${examples}`);
    }
    if (found[3]) return (given) => Math.floor(given / 100) === Number(found[3]);
    if (found[1]) return (given) => COMPARE[found[1]](given, Number(found[2]));
    return (given) => given === Number(found[2]);
  });
  return (item) => item.status !== null && tests.some((test) => test(item.status));
}

function pathOf(item) {
  return item.target.split("?")[0].toLowerCase();
}

function path(value) {
  if (!value.includes("*")) return (item) => pathOf(item).includes(value);
  const pieces = value.split("*");
  const first = pieces[0];
  const last = pieces[pieces.length - 1];
  return (item) => {
    const given = pathOf(item);
    if (!given.startsWith(first) || !given.endsWith(last)) return false;
    let position = first.length;
    for (const piece of pieces.slice(1, -1)) {
      const found = given.indexOf(piece, position);
      if (found < 0 || found + piece.length > given.length - last.length) return false;
      position = found + piece.length;
    }
    return position <= given.length - last.length;
  };
}

const IS = {
  open: (item) => item.took === null,
  failed: (item) => Boolean(item.error) || (item.status || 0) >= 500,
  http: (item) => item.protocol === "http",
  websocket: (item) => item.protocol === "websocket",
  tcp: (item) => item.protocol === "tcp",
};

function is(value) {
  if (!Object.hasOwn(IS, value)) {
    throw new NoFilter(`is:${value} is not possible: write is:${Object.keys(IS).join(", is:")}`);
  }
  return IS[value];
}

function amount(key, value) {
  const found = /^(>=|<=|>|<)(\d+(?:\.\d+)?)([a-z]*)$/.exec(value);
  if (!found || !Object.hasOwn(UNITS[key], found[3])) {
    const example = key === "time" ? "time:>500ms or time:<2s" : "size:>1mb or size:<10kb";
    throw new NoFilter(`${key}:${value} is not possible: write ${example}`);
  }
  const limit = Number(found[2]) * UNITS[key][found[3]];
  return (given) => COMPARE[found[1]](given, limit);
}

function age(item) {
  return item.took === null ? (Date.now() - new Date(item.began)) / 1000 : item.took;
}

function read(key, value) {
  if (key === "status") return status(value);
  if (key === "method") return (item) => value.toUpperCase().split(",").includes(item.method.toUpperCase());
  if (key === "path") return path(value);
  if (key === "host" || key === "tunnel" || key === "visitor") {
    return (item) => item[key].toLowerCase().includes(value);
  }
  if (key === "is") return is(value);
  if (key === "time" || key === "size") {
    const test = amount(key, value);
    return (item) => test(key === "time" ? age(item) : item.sent);
  }
  const text = key ? `${key}:${value}` : value; // such as localhost:3000, or a URL
  return (item) =>
    item.target.toLowerCase().includes(text) ||
    text === item.method.toLowerCase() ||
    text === String(item.status) ||
    item.host.toLowerCase().includes(text) ||
    item.error.toLowerCase().includes(text) ||
    item.visitor.includes(text) ||
    text === item.protocol;
}

/** Whether two words differ by one letter, or by two that changed places. */
function close(one, other) {
  if (one.length === other.length) {
    const apart = [...one].map((letter, index) => (letter === other[index] ? -1 : index)).filter((index) => index >= 0);
    const [a, b] = apart;
    return apart.length === 1 || (apart.length === 2 && b === a + 1 && one[a] === other[b] && one[b] === other[a]);
  }
  const [long, short] = one.length > other.length ? [one, other] : [other, one];
  return long.length === short.length + 1 && [...long].some((_, index) => long.slice(0, index) + long.slice(index + 1) === short);
}

/** A test of a request, from a filter's text. @throws NoFilter */
export function filter(text) {
  if (text.length > 500) throw new NoFilter("the filter is too long: 500 characters are possible");
  const unfinished = (plain) => plain && plain.endsWith(":") && KEYS.includes(plain.slice(0, -1).toLowerCase());
  const words = [...text.matchAll(WORD)].filter((found) => !unfinished(found[4])); // somebody is still typing it
  const tests = words.map(([, no, key, quoted, plain]) => {
    const name = (key || "").toLowerCase();
    const value = (quoted !== undefined ? quoted : plain).toLowerCase();
    const meant = KEYS.includes(name) || name.length < 3 ? undefined : KEYS.find((known) => close(name, known));
    if (meant) throw new NoFilter(`there is no ${name}: in the filter language; did you mean ${meant}:?`);
    const test = read(KEYS.includes(name) ? name : "", KEYS.includes(name) || !name ? value : `${name}:${value}`);
    return (item) => test(item) !== (no === "-");
  });
  return (item) => tests.every((test) => test(item));
}
