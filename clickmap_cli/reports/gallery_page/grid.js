// The grid: only the cells near the window exist, so 50,000 images cost as much as 50.

const MIN_CELL = 190;
const GAP = 12;
const CAPTION = 46;
const FRAME = 6;
const ROWS_BEYOND = 2;

const grid = { columns: 1, width: 0, height: 0, cells: new Map(), current: 0, queued: false };

function measure() {
  const total = byId("grid").clientWidth;
  grid.columns = Math.max(1, Math.floor((total + GAP) / (MIN_CELL + GAP)));
  grid.width = (total - GAP * (grid.columns - 1)) / grid.columns;
  const aspect = Math.min(Math.max(index.aspect, 0.6), 2);
  grid.picture = Math.round((grid.width - 2 * FRAME) / aspect);
  grid.height = grid.picture + 2 * FRAME + CAPTION;
  const rows = Math.ceil(state.order.length / grid.columns);
  byId("grid").style.height = `${Math.max(rows * (grid.height + GAP) - GAP, 0)}px`;
}

// The first and the last place of the rows in the window, and some rows around them.
function placesInSight(beyond) {
  const top = -byId("grid").getBoundingClientRect().top;
  const row = grid.height + GAP;
  const first = Math.max(Math.floor(top / row) - beyond, 0) * grid.columns;
  const last = (Math.floor((top + innerHeight) / row) + 1 + beyond) * grid.columns;
  return [first, Math.min(last, state.order.length)];
}

function drawSoon() {
  if (grid.queued) return;
  grid.queued = true;
  requestAnimationFrame(() => {
    grid.queued = false;
    if (!viewer.open) drawGrid();
  });
}

function drawGrid() {
  const [first, last] = placesInSight(ROWS_BEYOND);
  for (const [place, cell] of grid.cells) {
    // a cell that holds the focus stays, or the keyboard would lose its place
    if ((place < first || place >= last) && cell.button !== document.activeElement) dropCell(place);
  }
  const added = [];
  for (let place = first; place < last; place += 1) {
    if (!grid.cells.has(place)) added.push(addCell(place));
  }
  // in sight first: what is asked for last is loaded first
  const [seen, unseen] = placesInSight(0);
  added.sort((a, b) => (a.place >= seen && a.place < unseen) - (b.place >= seen && b.place < unseen));
  added.forEach(fillCell);
}

function placeCell(cell) {
  const { style } = cell.node;
  const row = Math.floor(cell.place / grid.columns);
  const column = cell.place % grid.columns;
  style.width = `${grid.width}px`;
  style.height = `${grid.height}px`;
  style.transform = `translate(${column * (grid.width + GAP)}px, ${row * (grid.height + GAP)}px)`;
  cell.box.style.height = `${grid.picture}px`;
}

function addCell(place) {
  const i = state.order[place];
  const canvas = el("canvas", { "aria-hidden": "true", width: 1, height: 1 });
  const box = el("span", { class: "picture" }, canvas);
  const button = el("button", {
    type: "button", tabindex: place === grid.current ? 0 : -1, "data-place": place,
    "aria-label": `${index.names[i]}, ${factsOf(i)}`,
    click: () => openViewer(place), focus: () => moveTo(place),
  }, box,
  nameNode(index.names[i]),
  el("span", { class: "facts", title: factsOf(i, true) }, factsOf(i)));
  const node = el("li", {
    class: "cell", "aria-setsize": state.order.length, "aria-posinset": place + 1,
  }, button);
  const cell = { place, i, node, button, box, canvas, picture: null, page: pageName(i) };
  grid.cells.set(place, cell);
  placeCell(cell);
  byId("grid").append(node);
  return cell;
}

// a name too long is cut in its middle: both ends tell images apart
function nameNode(name) {
  const letters = [...name];
  const tail = Math.max(letters.length - 12, Math.ceil(letters.length / 2));
  return el("span", { class: "name", title: name },
    el("span", { class: "head" }, letters.slice(0, tail).join("")),
    el("span", null, letters.slice(tail).join("")));
}

const pageName = (i) => index.pages[Math.floor(i / index.page_images)];

async function fillCell(cell) {
  try {
    const page = await pageOf(cell.page);
    if (!page || cell.dropped) return;
    const picture = await pictureOf(page[cell.i % index.page_images]);
    if (cell.dropped) {
      picture.photo?.close();
      return;
    }
    cell.picture = picture;
    if (!picture.photo) cell.box.append(el("span", { class: "absent" }, `image ${picture.state}`));
    paintCell(cell);
    cell.node.classList.add("drawn");
    tellWhenInSight();
  } catch (error) {
    if (!cell.dropped) cell.box.append(el("span", { class: "absent" }, error.message));
  }
}

const paintCell = (cell) => paint(cell.canvas, cell.picture, state.look);

function repaintGrid() {
  for (const cell of grid.cells.values()) if (cell.picture) paintCell(cell);
}

function dropCell(place) {
  const cell = grid.cells.get(place);
  grid.cells.delete(place);
  cell.dropped = true;
  cell.picture?.photo?.close();
  if (!cell.picture) noLongerWanted(cell.page);
  cell.node.remove();
}

function rebuildGrid() {
  for (const place of [...grid.cells.keys()]) dropCell(place);
  measure();
  drawGrid();
}

// once all that is in sight is drawn, for whoever measures
let told = false;

function tellWhenInSight() {
  if (told) return;
  const [first, last] = placesInSight(0);
  for (let place = first; place < last; place += 1) {
    if (!grid.cells.get(place)?.picture) return;
  }
  told = true;
  performance.mark("gallery drawn");
}

// The one cell that the Tab key reaches.
function moveTo(place) {
  const before = grid.cells.get(grid.current);
  if (before) before.button.tabIndex = -1;
  grid.current = place;
  const cell = grid.cells.get(place);
  if (cell) cell.button.tabIndex = 0;
}

function focusPlace(place) {
  if (!state.order.length) return;
  const to = Math.min(Math.max(place, 0), state.order.length - 1);
  moveTo(to);
  const top = Math.floor(to / grid.columns) * (grid.height + GAP);
  const at = byId("grid").getBoundingClientRect().top + top;
  const bar = byId("bar").getBoundingClientRect().bottom + GAP;
  if (at < bar) scrollBy(0, at - bar);
  else if (at + grid.height > innerHeight) scrollBy(0, at + grid.height + GAP - innerHeight);
  drawGrid();
  grid.cells.get(to).button.focus({ preventScroll: true });
}

function gridKey(event) {
  const rows = Math.max(Math.floor(innerHeight / (grid.height + GAP)), 1);
  const steps = {
    ArrowRight: 1, ArrowLeft: -1, ArrowDown: grid.columns, ArrowUp: -grid.columns,
    PageDown: rows * grid.columns, PageUp: -rows * grid.columns,
    Home: -Infinity, End: Infinity,
  };
  if (!(event.key in steps)) return;
  const inside = byId("grid").contains(document.activeElement);
  if (!inside) {
    // up and down scroll the page until a cell is chosen
    if (event.key !== "ArrowRight" && event.key !== "ArrowLeft") return;
    event.preventDefault();
    focusPlace(firstInSight());
    return;
  }
  event.preventDefault();
  const step = steps[event.key];
  const last = state.order.length - 1;
  const to = Math.min(Math.max(grid.current + step, 0), last);
  // in the first and the last row, up and down stay in their column
  const stays = Math.abs(step) > 1 && Number.isFinite(step) && grid.current + step !== to;
  focusPlace(stays ? grid.current : to);
}

function firstInSight() {
  const bar = byId("bar").getBoundingClientRect().bottom;
  const top = bar - byId("grid").getBoundingClientRect().top;
  return Math.max(Math.ceil(top / (grid.height + GAP)), 0) * grid.columns;
}
