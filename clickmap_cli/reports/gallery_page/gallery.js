// The start: what the reader can choose, and what is drawn again when they do.

let index = null;

const state = {
  order: [], words: [], category: -1, sort: "name", first: true, agreement: 0,
  look: { colormap: settings.colormaps[0].name, scale: settings.normalize.chosen, alpha: settings.alpha },
};

function factsOf(i, long = false) {
  const facts = [count(index.participants[i], "person", "people"), count(index.clicks[i], "click")];
  const agreements = long ? index.agreements : index.agreements.slice(state.agreement, state.agreement + 1);
  for (const { name, scores } of agreements) {
    if (scores[i] !== null) facts.push(long ? `${name} ${number(scores[i], 3)}` : number(scores[i], 2));
  }
  return facts.join(" · ");
}

// How a column is sorted: what comes first when its order is not turned round.
function sortKeys() {
  const columns = new Map([
    ["name", { label: "name", ends: ["A to Z", "Z to A"], values: null }],
    ["participants", { label: "participants", ends: ["most first", "fewest first"], values: index.participants, down: true }],
    ["clicks", { label: "clicks", ends: ["most first", "fewest first"], values: index.clicks, down: true }],
  ]);
  index.agreements.forEach(({ name, higher, scores }, k) => columns.set(`agreement ${k}`, {
    label: `agreement: ${name}`, ends: ["most first", "least first"], values: scores, down: higher,
  }));
  return columns;
}

function arrange() {
  const { words, category } = state;
  const found = [];
  for (let i = 0; i < index.names.length; i += 1) {
    if (category >= 0 && index.category[i] !== category) continue;
    if (words.every((word) => lowerNames[i].includes(word))) found.push(i);
  }
  const { values, down } = columns.get(state.sort);
  if (values) {
    const turn = down === state.first ? -1 : 1;
    // those without a value come last, whichever way; equal ones by name
    found.sort((a, b) => (values[a] === null) - (values[b] === null)
      || turn * (values[a] - values[b]) || a - b);
  } else if (!state.first) found.reverse();
  state.order = found;
  const all = found.length === index.names.length;
  byId("shown").textContent = found.length ? [
    all ? `All ${count(found.length, "image")}`
      : `${found.length.toLocaleString("en")} of ${count(index.names.length, "image")}`,
    index.agreements.length ? `; the last number is agreement (${index.agreements[state.agreement].name})` : "",
  ].join("") : "No image has such a name.";
  byId("turn").textContent = columns.get(state.sort).ends[state.first ? 0 : 1];
  grid.current = 0;
  rebuildGrid();
}

let columns = null;
let lowerNames = null;

function rearranged() {
  const top = byId("shown").offsetTop - byId("bar").offsetHeight;
  if (scrollY > top) scrollTo(0, top);
  arrange();
}

function changeLook(change) {
  Object.assign(state.look, change);
  byId("alpha-value").textContent = `${Math.round(100 * state.look.alpha)}%`;
  if (state.repainting) return;
  state.repainting = true;
  requestAnimationFrame(() => {
    state.repainting = false;
    if (viewer.open) repaintViewer();
    else repaintGrid();
  });
}

function listenLook() {
  byId("alpha").addEventListener("input", (event) => changeLook({ alpha: Number(event.target.value) }));
  byId("colormap").addEventListener("change", (event) => changeLook({ colormap: event.target.value }));
  byId("normalize").addEventListener("change", (event) => changeLook({ scale: event.target.value }));
}

function listenFind() {
  byId("search").addEventListener("input", (event) => {
    state.words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    rearranged();
  });
  byId("category").addEventListener("change", (event) => {
    state.category = Number(event.target.value);
    rearranged();
  });
  byId("sort").addEventListener("change", (event) => {
    state.sort = event.target.value;
    state.first = true;
    if (state.sort.startsWith("agreement ")) state.agreement = Number(state.sort.slice(10));
    rearranged();
  });
  byId("turn").addEventListener("click", () => {
    state.first = !state.first;
    rearranged();
  });
}

function listenSteps() {
  byId("back").addEventListener("click", closeViewer);
  byId("previous").addEventListener("click", () => stepImage(-1));
  byId("next").addEventListener("click", () => stepImage(1));
}

// keys that a control needs itself are left to it
const usesArrows = (node) => node.matches("select, input");

function listenKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const at = document.activeElement;
    if (event.key === "Escape") escape(event, at);
    else if (at === byId("search")) {
      if (event.key !== "Enter" && event.key !== "ArrowDown") return;
      event.preventDefault();
      focusPlace(0);
    } else if (event.key === "/" && !viewer.open) {
      event.preventDefault();
      byId("search").select();
    } else if (usesArrows(at)) return;
    else if (viewer.open) viewerKey(event);
    else gridKey(event);
  });
}

function escape(event, at) {
  if (viewer.open) {
    event.preventDefault();
    closeViewer();
  } else if (at === byId("search")) {
    event.preventDefault();
    if (!at.value) at.blur();
    at.value = "";
    at.dispatchEvent(new Event("input"));
  }
}

function listenWindow() {
  addEventListener("scroll", drawSoon, { passive: true });
  new ResizeObserver(() => {
    if (viewer.open || byId("grid").clientWidth === 0) return;
    measure();
    for (const cell of grid.cells.values()) placeCell(cell);
    drawSoon();
  }).observe(byId("grid"));
}

function fillControls() {
  const names = index.categories.map((name, k) => [k, name]);
  fillSelect(byId("category"), [[-1, "all categories"], ...names], -1);
  byId("category").parentElement.hidden = names.length < 2;
  fillSelect(byId("sort"), [...columns].map(([key, { label }]) => [key, label]), "name");
}

function fillLook() {
  fillSelect(byId("colormap"), settings.colormaps.map(({ name }) => [name, name]), state.look.colormap);
  fillSelect(byId("normalize"), settings.normalize.names.map((name) => [name, name]), state.look.scale);
  byId("alpha").value = state.look.alpha;
  changeLook({});
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

function drawFacts() {
  byId("facts").textContent = [
    count(index.names.length, "image"), count(sum(index.clicks), "click"),
    index.categories.length > 1 ? count(index.categories.length, "category", "categories") : "",
    index.agreements.length ? "" : "no ceiling yet, so none is sorted by agreement",
  ].filter(Boolean).join(" · ");
  const { remarks } = index;
  byId("remarks").hidden = !remarks.length;
  const counted = remarks.map(({ state: what, n }) => `${n.toLocaleString("en")} ${what}`);
  byId("remarks-title").textContent = `Images not shown as they are: ${counted.join(", ")}`;
  byId("remarks-list").replaceChildren(...remarks.flatMap(({ state: what, n, listed }) => [
    ...listed.map(([name, note]) => el("li", null, el("b", null, name), ` ${what}: ${note}`)),
    n > listed.length ? el("li", null, `and ${(n - listed.length).toLocaleString("en")} more ${what}`) : null,
  ].filter(Boolean)));
}

function theme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  const draw = () => {
    const dark = chosen ?? system.matches;
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    byId("theme").textContent = dark ? "Light" : "Dark";
  };
  system.addEventListener("change", draw);
  byId("theme").addEventListener("click", () => {
    chosen = !(chosen ?? system.matches);
    draw();
  });
  draw();
}

// an address may name an image: it is opened
function openNamed() {
  let name = "";
  try {
    name = decodeURIComponent(location.hash.slice(1));
  } catch {
    return; // an address that somebody mistyped
  }
  const place = name ? state.order.findIndex((i) => wellFormed(index.names[i]) === name) : -1;
  if (place >= 0) openViewer(place);
}

async function start() {
  theme();
  fillLook();
  if (typeof DecompressionStream === "undefined") {
    byId("shown").textContent = "This browser is too old for this page; use one of 2023 or later.";
    return;
  }
  try {
    index = await loadScript(settings.index, "index");
  } catch (error) {
    byId("shown").textContent = error.message;
    return;
  }
  lowerNames = index.names.map((name) => name.toLowerCase());
  columns = sortKeys();
  drawFacts();
  fillControls();
  arrange();
  listenLook();
  listenFind();
  listenSteps();
  listenKeys();
  listenWindow();
  openNamed();
}

start();
