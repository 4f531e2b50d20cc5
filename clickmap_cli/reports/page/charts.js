// Dots and intervals, drawn in SVG. Places along the x axis are percentages, so that a chart fits
// any width, on screen and on paper, without being drawn again.

function scaleOf(values) {
  const there = values.filter(Number.isFinite);
  const low = Math.min(...there);
  const high = Math.max(...there);
  const room = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  return { low: low - room, high: high + room };
}

function ticksOf({ low, high }, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((k) => k * power >= rough) * power;
  const places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let k = Math.ceil(low / step); k * step <= high; k++) {
    ticks.push({ at: k * step, label: number(k * step, places) });
  }
  return ticks;
}

const drawable = (...values) => values.every(Number.isFinite);
const shortened = (text) => (text.length > 40 ? `${text.slice(0, 37)}…` : text);

// rows: {name, note, value, low, high, ceiling: [value, low, high] | null, null: the same}
function dotPlot(rows, title) {
  const all = rows.flatMap((row) =>
    [row.value, row.low, row.high, ...(row.ceiling ?? []), ...(row.null ?? [])]);
  if (!all.some(Number.isFinite)) return null;
  const scale = scaleOf(all);
  const x = (value) => `${((value - scale.low) / (scale.high - scale.low)) * 100}%`;
  const height = 42;
  const bottom = rows.length * height + 4;
  const told = rows.map((row) => `${row.name} ${row.note}`).join("; ");
  const chart = svg("svg", { role: "img", height: bottom + 22, "aria-label": `${title}: ${told}` });
  for (const tick of ticksOf(scale, 5)) {
    const line = svg("line", { x1: x(tick.at), x2: x(tick.at), y1: 0, y2: bottom + 4 });
    const label = svg("text", { x: x(tick.at), y: bottom + 18, "text-anchor": "middle" }, tick.label);
    chart.append(svg("g", { class: "tick" }, line, label));
  }
  rows.forEach((row, k) => chart.append(...dotRow(row, k * height, x)));
  return chart;
}

function dotRow(row, top, x) {
  const middle = top + 29;
  const name = svg("text", { x: 0, y: top + 13 }, shortened(row.name), svg("title", null, row.name));
  const parts = [];
  for (const line of ["null", "ceiling"]) {
    if (!row[line] || !drawable(row[line][0])) continue;
    const [value, low, high] = row[line];
    const [from, to] = [middle - 11, middle + 11];
    if (drawable(low, high)) parts.push(band(x(low), x(high), from, to - from, `${line}-band`));
    parts.push(svg("line", { class: line, x1: x(value), x2: x(value), y1: from, y2: to }));
  }
  parts.push(name, svg("text", { x: "100%", y: top + 13, "text-anchor": "end" }, row.note));
  if (drawable(row.low, row.high)) {
    parts.push(svg("line", { class: "range", x1: x(row.low), x2: x(row.high), y1: middle, y2: middle }));
  }
  if (drawable(row.value)) parts.push(dot(x(row.value), middle, row.people ? "dot people" : "dot"));
  return parts;
}

const dot = (cx, cy, kind = "dot") => svg("circle", { class: kind, cx, cy, r: 4.5 });

function band(from, to, y, height, kind) {
  const width = `${Math.max(parseFloat(to) - parseFloat(from), 0)}%`;
  return svg("rect", { class: kind, x: from, width, y, height });
}

// a model against each person, between null and ceiling; its interval is that of the normalised
// score, which lies on the same axis (0 at the null, 1 at the ceiling)
function againstPeople(model, summary, metric) {
  const { ceiling, null: none } = summary;
  const onAxis = (share) => (share === null ? null : none + share * (ceiling - none));
  return {
    name: nameOf(model),
    people: model.people,
    note: `${number(summary.people, digits[metric])}, norm. ${share(summary)}`,
    value: summary.people,
    low: onAxis(summary.normalised_low),
    high: onAxis(summary.normalised_high),
    ceiling: [ceiling, summary.ceiling_low, summary.ceiling_high],
    null: [none, summary.null_low, summary.null_high],
  };
}

function drawCharts(rows) {
  const sets = [...new Set(rows.map((row) => row.d))];
  const charts = sets.map((d) => setChart(datasets[d], rows.filter((row) => row.d === d)));
  byId("charts").replaceChildren(...charts);
}

function setChart(set, rows) {
  const k = state.metric;
  const metric = metrics[k];
  const bestFirst = (a, b) => a.model.people - b.model.people
    || compare(a.summary[k].mean, b.summary[k].mean, !metric.higher);
  const order = [...rows].sort(bestFirst);
  const title = el("h4", null, `${metric.name} ${arrow(metric)} on ${set.name}`);
  const node = el("div", { class: "chart" }, title);
  const together = order.map(({ model, summary: all }) => ({
    name: nameOf(model), people: model.people, note: number(all[k].mean, digits[k]),
    value: all[k].mean, low: all[k].low, high: all[k].high,
  }));
  addPlot(node, together, "against all people together, mean and 95% interval");
  const people = order.filter(({ summary }) => summary[k].ceiling !== null && summary[k].null !== null);
  if (people.length) {
    addPlot(node, people.map(({ model, summary }) => againstPeople(model, summary[k], k)),
      "against each person, with the normalised score's 95% interval");
    node.append(el("p", { class: "key" }, el("span", null, "ceiling: people predict people"),
      el("span", { class: "is-null" }, "null: another image's people")));
  } else {
    const why = state.category === null
      ? "No ceiling is known for this data set and metric."
      : "Ceiling and intervals: all categories only.";
    node.append(el("p", { class: "legend" }, why));
  }
  return node;
}

function addPlot(node, rows, caption) {
  const plot = dotPlot(rows, caption);
  if (plot) node.append(el("figure", null, el("figcaption", null, caption), plot));
}

// ten columns: the range of each decile's scores, and their mean
function decilePlot(groups, title) {
  const scale = scaleOf(groups.flatMap((group) => [group.low, group.high]));
  const within = (value) => Math.min(Math.max(value, scale.low), scale.high); // of infinities
  const y = (value) => 170 - ((within(value) - scale.low) / (scale.high - scale.low)) * 160;
  const x = (k) => `${12 + ((k + 0.5) * 88) / groups.length}%`;
  const told = groups.map((group) => `${group.name}: ${number(group.mean, digits[state.metric])}`);
  const chart = svg("svg", { role: "img", height: 215, "aria-label": `${title}: ${told.join("; ")}` });
  for (const tick of ticksOf(scale, 5)) {
    const line = svg("line", { x1: "12%", x2: "100%", y1: y(tick.at), y2: y(tick.at) });
    const label = svg("text", { x: "11%", y: y(tick.at) + 4, "text-anchor": "end" }, tick.label);
    chart.append(svg("g", { class: "tick" }, line, label));
  }
  groups.forEach((group, k) => chart.append(
    svg("line", { class: "range", x1: x(k), x2: x(k), y1: y(group.low), y2: y(group.high) }),
    dot(x(k), y(group.mean)),
    tickText(x(k), 190, String(group.name)),
  ));
  const ends = groups.length > 1 ? `: 1 is the worst, ${groups.length} the best` : "";
  chart.append(tickText("56%", 210, `decile of images${ends}`));
  return chart;
}

function tickText(x, y, text) {
  return svg("g", { class: "tick" }, svg("text", { x, y, "text-anchor": "middle" }, text));
}
