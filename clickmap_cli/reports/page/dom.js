// Nodes and numbers. Names in the data are hostile: they become text nodes, never markup.

const byId = (id) => document.getElementById(id);

function make(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

// el("p", { class: "note" }, "text", otherNode)
function el(tag, attributes, ...children) {
  return make(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return make(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fillSelect(select, labels, chosen) {
  const options = labels.map(([value, label]) => el("option", { value }, label));
  select.replaceChildren(...options);
  select.value = String(chosen);
}

const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

function decimals(values) {
  const top = Math.max(0, ...values.filter(Number.isFinite).map(Math.abs));
  if (!(top > 0)) return 3;
  if (top >= 100) return 1;
  if (top >= 10) return 2;
  return top >= 0.1 ? 3 : Math.min(9, 2 - Math.floor(Math.log10(top)));
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const text = value.toFixed(digits);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}

function interval(low, high, digits) {
  return low === null || high === null ? "" : `[${number(low, digits)}, ${number(high, digits)}]`;
}

function probability(p) {
  if (p === null) return "–";
  return p < 0.001 ? "< 0.001" : p.toFixed(3);
}
