// Tables: heads that sort, and bodies that grow on request.

// A table in `host` sorted by its heads. `columns`: {key, label, text, first, title}, where `first()`
// is whether the first press sorts upwards (it does without); `pressed(key)` is told.
// Returns {order, body, draw(rows)}; rows are replaced, heads stay, so focus stays too.
function sortTable(host, columns, pressed, order = { key: null, up: true }) {
  const heads = new Map();
  const press = (column) => {
    const again = order.key === column.key;
    order.up = again ? !order.up : (column.first?.() ?? true);
    order.key = column.key;
    mark();
    pressed(column.key);
  };
  const mark = () => {
    for (const [key, head] of heads) {
      const sorted = key === order.key;
      head.setAttribute("aria-sort", sorted ? (order.up ? "ascending" : "descending") : "none");
      head.querySelector(".order").textContent = sorted ? (order.up ? "▲" : "▼") : "";
    }
  };
  const row = el("tr");
  for (const column of columns) {
    const sign = el("span", { class: "order", "aria-hidden": "true" });
    const attributes = { type: "button", title: column.title ?? null, click: () => press(column) };
    const button = el("button", attributes, column.label, sign);
    const head = el("th", { scope: "col", class: column.text ? "text" : null }, button);
    heads.set(column.key, head);
    row.append(head);
  }
  const body = el("tbody");
  host.replaceChildren(el("table", null, el("thead", null, row), body));
  mark();
  return { order, body, draw: (rows) => body.replaceChildren(...rows) };
}

// Draws the first `step` of `items` as rows of a body, and a button for more of them.
function drawSome(body, more, items, toRow, step) {
  let drawn = 0;
  const add = () => {
    body.append(...items.slice(drawn, drawn + step).map(toRow));
    drawn = Math.min(drawn + step, items.length);
    told.textContent = `${drawn.toLocaleString("en")} of ${count(items.length, "row")} shown`;
    button.hidden = drawn === items.length;
  };
  const told = el("span", { role: "status" });
  const button = el("button", { type: "button", click: add }, "Show more");
  body.replaceChildren();
  more.replaceChildren(told, button);
  more.hidden = items.length <= step;
  add();
}

// A table that is not sorted; its first columns hold text. Returns its body.
function plainTable(host, caption, labels, textColumns) {
  const heads = labels.map((label, k) =>
    el("th", { scope: "col", class: k < textColumns ? "text" : null }, label));
  const body = el("tbody");
  const title = caption ? el("caption", null, caption) : null;
  host.replaceChildren(el("table", null, title, el("thead", null, el("tr", null, ...heads)), body));
  return body;
}

function noTable(host, more, text) {
  host.replaceChildren(el("p", { class: "note" }, text));
  more.hidden = true;
}

const cell = (text, kind = null) => el("td", { class: kind }, text);
const textCell = (text) => cell(text, "text");
const rowHead = (text) => el("th", { scope: "row", class: "text" }, text);
