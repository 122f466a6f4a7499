// A table that is sorted and filtered, and updated row by row. Of many rows it shows some, and more on demand.

import { Keyed, attribute, h, put, visible } from "./dom.js";
import { NOTHING } from "./format.js";
import { badge, timeElement } from "./parts.js";

const STEP = 100;

/**
 * Columns: `title`; `cell(td)` returns what updates the cell with an item; `by(item)`, if it can be sorted;
 * `down` if the largest come first. Helpers for usual cells follow below.
 */
export function table({ label, columns, key, match = null, placeholder = "", none, sort = 0, extra = [] }) {
  const body = h("tbody", { role: "rowgroup" });
  let sorted = sort;
  let backwards = Boolean(columns[sort].down);
  let most = STEP;
  let items = [];

  const heads = columns.map((column, index) => {
    const inner = column.by
      ? h("button", {
          type: "button",
          class: "sort",
          text: column.title,
          click: () => {
            backwards = sorted === index ? !backwards : Boolean(column.down);
            sorted = index;
            show();
          },
        })
      : column.title
        ? h("span", { text: column.title })
        : h("span", { class: "unseen", text: "Actions" });
    return h("th", { scope: "col", role: "columnheader", class: column.class }, inner);
  });
  const rows = new Keyed(body, key, () => {
    const cells = columns.map((column) => h("td", { role: "cell", class: column.class, data: { label: column.title } }));
    const updates = columns.map((column, index) => column.cell(cells[index]));
    return {
      element: h("tr", { role: "row" }, cells),
      update: (item) => updates.forEach((update) => update(item)),
    };
  });
  const search = match
    ? h("input", { type: "search", placeholder, "aria-label": placeholder, autocomplete: "off", input: () => show() })
    : null;
  const counted = h("span", { class: "muted counted", role: "status" });
  const more = h("button", {
    type: "button",
    class: "more",
    hidden: true,
    click: () => {
      most += STEP * 2;
      show();
    },
  });
  const nothing = h("p", { class: "muted none", text: "Nothing fits.", hidden: true });
  const frame = h(
    "div",
    { class: "frame" },
    h(
      "table",
      { role: "table", "aria-label": label },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, heads)),
      body,
    ),
    nothing,
    more,
  );
  const tools = h("div", { class: "tools" }, search, extra, counted);
  const blank = none;
  const element = h("div", { class: "listing" }, tools, frame, blank);
  visible(frame, false);
  visible(blank, false);
  visible(tools, false);

  function show() {
    const wanted = search ? search.value.trim().toLowerCase() : "";
    let found = wanted ? items.filter((item) => match(item).toLowerCase().includes(wanted)) : items.slice();
    const by = columns[sorted].by;
    found.sort((one, other) => {
      const [a, b] = [by(one), by(other)];
      const order = typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
      return (backwards ? -order : order) || String(key(one)).localeCompare(String(key(other)));
    });
    heads.forEach((head, index) =>
      attribute(head, "aria-sort", index === sorted ? (backwards ? "descending" : "ascending") : null),
    );
    rows.show(found.slice(0, most));
    put(more, `Show more: ${Math.min(most, found.length)} of ${found.length} are shown`);
    visible(more, found.length > most);
    visible(nothing, items.length > 0 && found.length === 0);
    visible(frame, items.length > 0);
    visible(tools, items.length > 0);
    visible(blank, items.length === 0);
    put(counted, wanted ? `${found.length} of ${items.length}` : `${items.length}`);
  }

  return {
    element,
    update(given) {
      items = given;
      show();
    },
  };
}

/** A cell that is a text. */
export function text(value, title = null) {
  return (td) => (item) => {
    const shown = value(item);
    put(td, shown === null || shown === undefined || shown === "" ? NOTHING : String(shown));
    if (title) attribute(td, "title", title(item));
  };
}

/** A cell that is a moment. */
export function time(value, exact = false) {
  return (td) => {
    const { element, update } = timeElement(exact);
    td.append(element);
    return (item) => update(value(item));
  };
}

/** A cell that is a state. */
export function state(value, title = () => null) {
  return (td) => {
    const { element, update } = badge();
    td.append(element);
    return (item) => update(value(item), title(item));
  };
}

/** A cell with a button, for items that `allowed` says. */
export function action(label, what, allowed, click) {
  return (td) => {
    let now = null;
    const button = h("button", { type: "button", class: "small", text: label, click: () => click(now) });
    td.append(button);
    return (item) => {
      now = item;
      attribute(button, "aria-label", `${label} ${what(item)}`);
      visible(button, allowed(item));
    };
  };
}
