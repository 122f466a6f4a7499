// How many requests a second pass, from the counts that the API tells.

const KEPT = 40;

class Rate {
  constructor() {
    this.samples = [];
    this.requests = this.rate = null;
  }

  add(requests, passed) {
    if (requests === null || requests === undefined) this.requests = this.rate = null;
    else {
      this.rate = this.requests !== null && requests >= this.requests && passed > 0 ? (requests - this.requests) / passed : 0;
      this.requests = requests;
    }
    this.keep(this.rate || 0);
  }

  keep(sample) {
    this.samples.push(sample);
    if (this.samples.length > KEPT) this.samples.shift();
  }
}

const known = new Map();
export const total = new Rate();
let last = null;

/** Takes a look at all tunnels. */
export function observe(items) {
  const now = performance.now();
  const passed = last === null ? 0 : (now - last) / 1000;
  last = now;
  const there = new Set();
  total.rate = 0;
  for (const item of items) {
    there.add(item.name);
    const found = of(item.name);
    found.add(item.requests, passed);
    total.rate += found.rate || 0;
  }
  for (const name of known.keys()) if (!there.has(name)) known.delete(name);
  total.keep(total.rate);
}

/** Of one tunnel. */
export function of(name) {
  let found = known.get(name);
  if (!found) known.set(name, (found = new Rate()));
  return found;
}

/** A rate of its own, of a view that looks at one tunnel. */
export function single() {
  const found = new Rate();
  let before = null;
  return {
    found,
    observe(item) {
      const now = performance.now();
      found.add(item.requests, before === null ? 0 : (now - before) / 1000);
      before = now;
    },
  };
}
