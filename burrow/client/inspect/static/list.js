// The list of requests. Only the rows that are seen are in the document, so thousands cost no more than twenty.

import { byId, clock, el, seconds, shownMethod, size, statusClass, statusText } from "./dom.js";

const HEIGHT = 34;
const MOST = 5000;

export class List {
  constructor(open) {
    this.open = open;
    this.all = [];
    this.known = new Map();
    this.selected = null;
    this.place = byId("list");
    this.rows = byId("rows");
    this.place.addEventListener("scroll", () => this.draw());
    this.place.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) this.open(row.dataset.id);
    });
    new ResizeObserver(() => this.draw()).observe(this.place);
  }

  set(items) {
    this.all = items;
    this.known = new Map(items.map((one) => [one.id, one]));
    this.draw();
  }

  update(one) {
    const before = this.known.get(one.id);
    if (before) {
      Object.assign(before, one);
    } else {
      const position = this.all.length && Number(this.all[0].id) > Number(one.id) ? this.all.findIndex((each) => Number(each.id) < Number(one.id)) : 0;
      this.all.splice(position < 0 ? this.all.length : position, 0, one);
      this.known.set(one.id, one);
      if (this.all.length > MOST) this.known.delete(this.all.pop().id);
      if (this.place.scrollTop > HEIGHT) this.place.scrollTop += HEIGHT;
    }
    this.later();
  }

  later() {
    if (!this.waiting) {
      this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.draw(); });
    }
  }

  select(id) {
    this.selected = id;
    const position = this.all.findIndex((one) => one.id === id);
    if (position >= 0) {
      const top = position * HEIGHT;
      const { scrollTop, clientHeight } = this.place;
      if (top < scrollTop) this.place.scrollTop = top;
      else if (top + HEIGHT > scrollTop + clientHeight) this.place.scrollTop = top + HEIGHT - clientHeight;
    }
    this.draw();
  }

  neighbour(step) {
    if (!this.all.length) return null;
    const position = this.all.findIndex((one) => one.id === this.selected);
    if (position < 0) return this.all[0].id;
    return this.all[Math.min(Math.max(position + step, 0), this.all.length - 1)].id;
  }

  draw() {
    this.rows.style.height = `${this.all.length * HEIGHT}px`;
    const first = Math.max(0, Math.floor(this.place.scrollTop / HEIGHT) - 4);
    const last = Math.min(this.all.length, first + Math.ceil(this.place.clientHeight / HEIGHT) + 9);
    const rows = [];
    for (let position = first; position < last; position++) rows.push(this.row(this.all[position], position));
    this.rows.replaceChildren(...rows);
    if (this.known.has(this.selected)) this.place.setAttribute("aria-activedescendant", `row-${this.selected}`);
    else this.place.removeAttribute("aria-activedescendant");
    const count = this.all.length;
    byId("count").textContent = count ? `${this.more ? "the newest " : ""}${count} request${count === 1 ? "" : "s"}` : "";
    this.place.classList.toggle("empty", !count);
  }

  row(one, position) {
    const method = shownMethod(one);
    const state = statusText(one);
    const spoken = `${method} ${one.path}, ${one.error || state}, ${seconds(one.took)}, at ${clock(one.began)}`;
    const row = el(
      "div",
      {
        class: `row ${statusClass(one)}${one.id === this.selected ? " selected" : ""}`,
        id: `row-${one.id}`, role: "option", "data-id": one.id, "aria-label": spoken, title: `${one.host}${one.path}`,
        "aria-selected": one.id === this.selected ? "true" : "false",
        "aria-setsize": this.all.length, "aria-posinset": position + 1,
      },
      el("span", { class: `method m-${method.toLowerCase().replace(/[^a-z]/g, "")}` }, method),
      el("span", { class: "path" }, one.replay_of ? el("span", { class: "tag" }, "replay") : null, one.path || one.tunnel),
      el("span", { class: "status" }, state),
      el("span", { class: "took" }, seconds(one.took)),
      el("span", { class: "size" }, size(one.sent)),
    );
    row.style.transform = `translateY(${position * HEIGHT}px)`;
    return row;
  }
}
