// Elements without HTML: whatever comes from outside becomes text.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Of `props`, functions are listeners; `class`, `text` and `data` are what they say; the rest are attributes. */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else if (name === "text") element.textContent = value;
    else if (name === "class") element.setAttribute("class", value);
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

/** Sets a text if it is another: what did not change costs no layout. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets an attribute if it is another; null takes it away. */
export function attribute(element, name, value) {
  if (value === null || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Shows or hides. */
export function visible(element, yes) {
  if (element.hidden === yes) element.hidden = !yes;
}

const PATHS = {
  tunnels: "M3 17v-3a9 9 0 0 1 18 0v3h-4v-3a5 5 0 0 0-10 0v3z",
  requests: "M4 7h13l-4-4 M20 17H7l4 4",
  sessions: "M7 7h10v10H7z M3 10h4 M3 14h4 M17 10h4 M17 14h4 M10 3v4 M14 3v4 M10 17v4 M14 17v4",
  names: "M4 4h7l9 9-7 7-9-9z M8 8h.01",
  certificates: "M12 3l7 3v5c0 4.5-3 8-7 10-4-2-7-5.500-7-10V6z M9 12l2 2 4-4",
  nodes: "M4 4h16v6H4z M4 14h16v6H4z M8 7h.01 M8 17h.01",
  tokens: "M15 9a4 4 0 1 0-4 4l-1 0L4 19v2h3l1-1v-2h2v-2h2l1.500-1.500 M15.500 8.500h.01",
  events: "M12 7v5l3 2 M12 3a9 9 0 1 0 .01 0z",
  audit: "M6 3h9l4 4v14H6z M9 12h7 M9 16h7 M9 8h3",
  menu: "M4 7h16 M4 12h16 M4 17h16",
  copy: "M9 9h11v11H9z M5 15H4V4h11v1",
  check: "M5 12l5 5 9-10",
  pause: "M8 5v14 M16 5v14",
  play: "M7 5l12 7-12 7z",
  theme: "M12 3a9 9 0 1 0 .01 0z M12 3v18 M12 7h4 M12 11h6 M12 15h5",
  leave: "M10 4H5v16h5 M9 12h11 M16 8l4 4-4 4",
  back: "M15 5l-7 7 7 7",
  out: "M13 5h6v6 M19 5l-9 9 M17 14v5H5V7h5",
};

/** A small picture, which says nothing that the text beside it does not. */
export function icon(name) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 24 24", "aria-hidden": "true", focusable: "false" },
    PATHS[name].split(/ (?=M)/).map((d) => svg("path", { d })),
  );
}

/**
 * Elements that show items, by their keys: what is shown already is updated, and moved only if it has to be.
 * `make(item)` returns `{element, update(item)}`.
 */
export class Keyed {
  constructor(parent, key, make) {
    this.parent = parent;
    this.key = key;
    this.make = make;
    this.rows = new Map();
    this.head = parent.firstElementChild; // such as a table's head, which stays
  }

  show(items) {
    const wanted = new Map(items.map((item) => [this.key(item), item]));
    const focused = document.activeElement;
    for (const [key, row] of this.rows) {
      if (!wanted.has(key)) {
        row.element.remove();
        this.rows.delete(key);
      }
    }
    let place = this.head ? this.head.nextElementSibling : this.parent.firstElementChild;
    for (const [key, item] of wanted) {
      let row = this.rows.get(key);
      if (row === undefined) {
        row = this.make(item);
        this.rows.set(key, row);
      }
      row.update(item);
      if (row.element === place) place = place.nextElementSibling;
      else this.parent.insertBefore(row.element, place);
    }
    // What was moved lost the focus.
    if (focused !== document.activeElement && this.parent.contains(focused)) focused.focus({ preventScroll: true });
  }
}
