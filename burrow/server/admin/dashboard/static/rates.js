// How many requests and bytes a second pass, from the counts that the API tells.

const KEPT = 40;

class Rate {
  constructor() {
    this.samples = [];
    this.requests = this.bytes = null;
    this.rate = this.throughput = null;
  }

  add(requests, bytes, passed) {
    if (requests === null || requests === undefined) {
      this.requests = null;
      this.rate = this.throughput = null;
    } else {
      if (this.requests !== null && requests >= this.requests && passed > 0) {
        this.rate = (requests - this.requests) / passed;
        this.throughput = Math.max(0, bytes - this.bytes) / passed;
      } else this.rate = this.throughput = 0;
      this.requests = requests;
      this.bytes = bytes;
    }
    this.samples.push(this.rate || 0);
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
  let rate = 0;
  let throughput = 0;
  for (const item of items) {
    there.add(item.name);
    const found = of(item.name);
    found.add(item.requests, (item.received || 0) + (item.sent || 0), passed);
    rate += found.rate || 0;
    throughput += found.throughput || 0;
  }
  for (const name of known.keys()) if (!there.has(name)) known.delete(name);
  total.rate = rate;
  total.throughput = throughput;
  total.samples.push(rate);
  if (total.samples.length > KEPT) total.samples.shift();
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
      found.add(item.requests, (item.received || 0) + (item.sent || 0), before === null ? 0 : (now - before) / 1000);
      before = now;
    },
  };
}
