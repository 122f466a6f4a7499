// Numbers, sizes and times as people read them.

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const seconds = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const day = new Intl.DateTimeFormat("en", { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric" });

export const NOTHING = "–";

export function count(value) {
  return value === null || value === undefined ? NOTHING : number.format(value);
}

export function bytes(value) {
  if (value === null || value === undefined) return NOTHING;
  let unit = 0;
  while (value >= 999.5 && unit < 4) {
    value /= 1000;
    unit += 1;
  }
  const shown = unit && value < 10 ? value.toFixed(1) : Math.round(value);
  return `${shown} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

export function duration(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value < 0.001) return `${(value * 1000).toFixed(1)} ms`;
  if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min`;
  if (value < 86400 * 2) return `${Math.floor(value / 3600)} h`;
  return `${Math.floor(value / 86400)} days`;
}

export function rate(value) {
  if (value === null || value === undefined) return NOTHING;
  if (value === 0) return "0/s";
  return `${value < 10 ? value.toFixed(1) : Math.round(value)}/s`;
}

/** A moment in local time, as short as it can be. */
export function moment(iso, exact = false) {
  if (!iso) return NOTHING;
  const when = new Date(iso);
  const today = new Date();
  const time = (exact ? seconds : clock).format(when);
  if (when.toDateString() === today.toDateString()) return time;
  if (when.getFullYear() === today.getFullYear()) return `${day.format(when)}, ${time}`;
  return year.format(when);
}

/** The same moment in UTC, for a title. */
export function utc(iso) {
  return iso ? `${iso.slice(0, 19).replace("T", " ")} UTC` : "";
}

/** A date and how far it is. */
export function until(iso) {
  if (!iso) return NOTHING;
  const days = (new Date(iso) - Date.now()) / 86400000;
  const when = year.format(new Date(iso));
  if (days < 0) return `${when}, over`;
  if (days < 1) return `${when}, in ${Math.max(1, Math.round(days * 24))} h`;
  if (days > 730) return `${when}, in ${Math.round(days / 365)} years`;
  return `${when}, in ${Math.round(days)} ${Math.round(days) === 1 ? "day" : "days"}`;
}

/** The beginning of a long id; its whole is in the title. */
export function short(id) {
  return id && id.length > 14 ? `${id.slice(0, 12)}…` : id || NOTHING;
}
