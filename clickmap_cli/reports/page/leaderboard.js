// The leaderboard: data sets x models by metrics, and where each model lies between null and ceiling.

const arrow = (metric) => (metric.higher ? "↑" : "↓");
const direction = (metric) => (metric.higher ? "higher is better" : "lower is better");
const described = (metric) => `${metric.meaning} ${said(metric)}`;
const said = (metric) =>
  `${metric.higher ? "Higher" : "Lower"} is better. Reference: ${metric.reference}.`;

let board = null;

// a new head: which metrics are columns has changed
function buildBoard() {
  const fixed = [
    { key: "dataset", label: "Data set", text: true },
    { key: "model", label: "Model", text: true },
    { key: "images", label: "Images", first: () => false, title: "images scored" },
  ];
  const chosen = [...state.columns].sort((a, b) => a - b).map((k) => ({
    key: k,
    label: `${metrics[k].name} ${arrow(metrics[k])}`,
    title: described(metrics[k]),
    first: () => !metrics[k].higher,
  }));
  byId("board").classList.toggle("beside", chosen.length <= 4);
  const old = board?.order;
  const stays = old && (typeof old.key === "string" || state.columns.has(old.key));
  const columns = [...fixed, ...chosen];
  board = sortTable(byId("board-table"), columns, pressBoard, stays ? old : undefined);
}

function pressBoard(key) {
  if (typeof key === "number" && key !== state.metric) {
    state.metric = key;
    byId("pick-metric").value = String(key);
    drawAll();
  } else drawBoard();
}

function boardValue(row, key) {
  if (key === "dataset") return row.set.name;
  if (key === "model") return row.model.name;
  return key === "images" ? row.scored : row.summary[key][reading()];
}

function sortedBoard(rows) {
  const { key, up } = board.order;
  const by = (k, upwards) => (a, b) => compare(boardValue(a, k), boardValue(b, k), upwards);
  const apart = (a, b) => a.model.people - b.model.people; // below the models, whatever the order
  if (key !== null) return rows.sort((a, b) => apart(a, b) || by(key, up)(a, b));
  const first = by(state.metric, !metrics[state.metric].higher);
  return rows.sort((a, b) => a.d - b.d || apart(a, b) || first(a, b));
}

// data set -> the best value that a model has of every metric
function bestOf(rows) {
  const found = new Map();
  for (const d of new Set(rows.map((row) => row.d))) {
    const ours = rows.filter((row) => row.d === d && !row.model.people);
    found.set(d, metrics.map((metric, k) => best(ours.map((row) => boardValue(row, k)), metric.higher)));
  }
  return found;
}

function scoreCell(summary, metric, isBest) {
  const node = el("td", { class: isBest ? "best" : null },
    el("b", null, number(summary.mean, digits[metric])));
  if (isBest) node.append(el("span", { class: "hidden-text" }, " best"));
  const note = (...parts) => parts[0] && node.append(el("small", null, ...parts));
  note(interval(summary.low, summary.high, digits[metric]));
  if (summary.normalised !== null || isMeaningless(summary)) {
    const range = interval(summary.normalised_low, summary.normalised_high, 2);
    note(`norm. ${share(summary)} `, el("span", null, range));
  }
  if (summary.n_undefined) note(`${summary.n_undefined} undefined`);
  return node;
}

function boardRow(row, bests) {
  const name = rowHead(row.model.name);
  if (row.model.people) name.append(el("small", null, "people, not a model"));
  const images = cell(row.scored.toLocaleString("en"));
  if (row.model.n_failed && state.category === null) {
    images.append(el("small", null, `${row.model.n_failed} failed`));
  }
  for (const [done, n] of Object.entries(row.model.placement)) {
    if (done !== "as it is") images.append(el("small", null, `${n} maps ${done}`));
  }
  const scores = [...state.columns].sort((a, b) => a - b).map((k) => {
    const top = bests.get(row.d)[k];
    const isBest = !row.model.people && top !== null && boardValue(row, k) === top;
    return scoreCell(row.summary[k], k, isBest);
  });
  return el("tr", { class: row.model.people ? "people" : null }, textCell(row.set.name), name, images, ...scores);
}

function drawBoard() {
  const rows = boardRows();
  const bests = bestOf(rows);
  board.draw(sortedBoard(rows).map((row) => boardRow(row, bests)));
  byId("board-legend").textContent = boardLegend(rows);
  drawCharts(rows);
}

const hasNormalised = (row) => row.summary.some((one) => one.normalised !== null);

function boardLegend(rows) {
  const marked = "Press a column's head to sort by it. The best model of each data set is bold and "
    + "tinted; ↑ more is better, ↓ less is better."
    + (rows.some((row) => row.model.people) ? " People stand below the models." : "");
  if (state.category !== null) {
    return `${marked} Means over the images of category “${state.category}”; intervals, normalised `
      + "scores and ceilings are shown only for all categories.";
  }
  const norm = "norm.: normalised score; 0 is what another image's people reach, 1 what the image's "
    + "own people reach.";
  const lost = "n.m.: not meaningful, as the ceiling is not better than the null.";
  const said = [`${marked} Mean over images, [95% interval].`];
  if (rows.some(hasNormalised)) said.push(norm);
  if (rows.some((row) => row.summary.some(isMeaningless))) said.push(lost);
  return said.join(" ");
}
