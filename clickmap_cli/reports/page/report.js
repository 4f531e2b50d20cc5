// The start: what the reader can choose, and what is drawn again when they do.

function drawFacts() {
  const all = datasets.flatMap((set) => set.models);
  const models = new Set(all.filter((model) => !model.people).map((model) => model.name));
  const images = datasets.reduce((sum, set) => sum + set.images.length, 0);
  byId("facts").textContent = [
    count(datasets.length, "data set"), count(models.size, "model"),
    ...(all.some((model) => model.people) ? ["people"] : []), count(metrics.length, "metric"),
    count(images, "image"), count(report.failures.length, "failure"),
  ].join(" · ");
  document.title = `${report.experiment}: clickmap benchmark`;
  byId("experiment").textContent = report.experiment;
}

function drawView() {
  const metric = metrics[state.metric];
  const range = state.category === null ? "all categories" : `category ${state.category}`;
  const set = state.dataset < 0 ? "all data sets" : datasets[state.dataset].name;
  byId("view").textContent = `Showing ${set}, ${range}, ${metric.name} (${direction(metric)}); `
    + `images of ${imageSet().name}, model ${imageModel().name}.`;
  byId("metric-meaning").textContent = described(metric);
}

function drawComparisons() {
  const shown = shownDatasets().map((d) => datasets[d]);
  const sets = new Set(shown.map((set) => set.name));
  byId("people-compared").hidden = !shown.some((set) => set.models.some((model) => model.people));
  const rows = report.comparisons.filter((row) => sets.has(row.dataset)
    && (state.everyMetric || row.metric === metrics[state.metric].name));
  if (!rows.length) {
    noTable(byId("comparison-table"), byId("comparison-more"), "There are no two models to compare.");
    return;
  }
  const body = plainTable(byId("comparison-table"), "",
    ["Data set", "Metric", "A", "B", "Images", "Mean A", "Mean B", "Difference", "95% interval",
      "p", "p (Holm)"], 4);
  const place = new Map(metrics.map((metric, k) => [metric.name, k]));
  drawSome(body, byId("comparison-more"), rows, (row) => {
    const d = digits[place.get(row.metric)];
    return el("tr", null, textCell(row.dataset), textCell(row.metric), textCell(row.model_a),
      textCell(row.model_b), cell(row.n_images.toLocaleString("en")), cell(number(row.mean_a, d)),
      cell(number(row.mean_b, d)), el("td", null, el("b", null, number(row.difference, d))),
      cell(interval(row.low, row.high, d) || "–"), cell(probability(row.p)),
      cell(probability(row.p_holm)));
  }, 100);
}

function drawDives() {
  const name = state.dataset < 0 ? null : datasets[state.dataset].name;
  const rows = report.dives.filter((row) => name === null || row.dataset === name);
  if (!rows.length) {
    noTable(byId("dive-table"), byId("dive-more"), "None of this data set.");
    return;
  }
  const body = plainTable(byId("dive-table"), "",
    ["Data set", "Model", "Metric", "Image", "Score", "Best setting", "Its score", "Every setting"], 4);
  const each = (variants) =>
    Object.entries(variants).map(([setting, score]) => `${setting} ${number(score, 3)}`).join(", ");
  const place = (path) => path.split("/").map(encodeURIComponent).join("/");
  const image = (row) => !row.picture ? textCell(row.image_id)
    : el("td", { class: "text" }, el("a", { href: place(row.picture) }, row.image_id));
  drawSome(body, byId("dive-more"), rows, (row) => el("tr", null, textCell(row.dataset),
    textCell(row.model), textCell(row.metric), image(row), cell(number(row.score, 3)),
    el("td", null, el("b", null, row.best)), cell(number(row.best_score, 3)),
    textCell(each(row.variants))), 100);
}

function drawFailures() {
  const name = state.dataset < 0 ? null : datasets[state.dataset].name;
  const rows = report.failures.filter((row) => name === null || row.dataset === name);
  if (!rows.length) {
    noTable(byId("failure-table"), byId("failure-more"), "None.");
    return;
  }
  const body = plainTable(byId("failure-table"), "Images that were left out, and why.",
    ["Data set", "Model", "Image", "Reason"], 4);
  drawSome(body, byId("failure-more"), rows, (row) => el("tr", null, textCell(row.dataset),
    textCell(row.model || "every model"), textCell(row.image_id), cell(row.reason, "text reason")), 100);
}

function drawDefinitions() {
  byId("metrics").replaceChildren(...metrics.flatMap((metric) => [
    el("dt", null, `${metric.name} ${arrow(metric)}`),
    el("dd", null, metric.meaning, el("span", null, ` ${said(metric)}`)),
  ]));
}

function drawAll() {
  drawView();
  drawBoard();
  drawImages();
  drawDeciles();
  drawComparisons();
}

function fillCategories() {
  const names = [...new Set(shownDatasets().flatMap((d) => datasets[d].categories))];
  names.sort((a, b) => compare(a, b, true));
  const select = byId("pick-category");
  const options = names.length > 1 ? names.map((name, k) => [k, name]) : [];
  fillSelect(select, [[-1, "All categories"], ...options], names.indexOf(state.category));
  if (select.selectedIndex <= 0) state.category = null;
  select.onchange = () => {
    state.category = select.value === "-1" ? null : names[Number(select.value)];
    const some = (d) => imagesOf(datasets[d]).length > 0;
    if (!some(state.imageDataset)) chooseImageDataset(shownDatasets().find(some));
    drawAll();
  };
}

// the image section's own pickers: only what the filter lets through
function chooseImageDataset(d) {
  const before = imageSet().models[state.model]?.name;
  state.imageDataset = d;
  state.model = Math.max(0, imageSet().models.findIndex((model) => model.name === before));
  fillSelect(byId("pick-image-dataset"), shownDatasets().map((k) => [k, datasets[k].name]), d);
  fillSelect(byId("pick-model"), imageSet().models.map((model, m) => [m, nameOf(model)]), state.model);
  buildEvery();
}

// the model whose images are shown first: not the chance level that configs begin with, nor people
function bestModel(set, k) {
  const first = (a, b) => a.model.people - b.model.people
    || compare(a.model.summary[k].mean, b.model.summary[k].mean, !metrics[k].higher);
  return set.models.map((model, m) => ({ model, m })).sort(first)[0].m;
}

function listen(id, event, change) {
  byId(id).addEventListener(event, (happened) => {
    change(happened.target);
  });
}

function listenFilters() {
  listen("pick-dataset", "change", (select) => {
    state.dataset = Number(select.value);
    fillCategories();
    const shown = shownDatasets();
    chooseImageDataset(shown.includes(state.imageDataset) ? state.imageDataset : shown[0]);
    drawAll();
    drawDives();
    drawFailures();
  });
  listen("pick-metric", "change", (select) => {
    state.metric = Number(select.value);
    drawAll();
  });
  listen("pick-reading", "change", (select) => {
    state.reading = select.value;
    drawBoard();
  });
  listen("pick-image-dataset", "change", (select) => {
    chooseImageDataset(Number(select.value));
    drawView();
    drawImages();
    drawDeciles();
  });
  listen("pick-model", "change", (select) => {
    state.model = Number(select.value);
    drawView();
    drawImages();
    drawDeciles();
  });
  listen("search", "input", (input) => {
    state.query = input.value;
    drawImages();
  });
  listen("every-metric", "change", (input) => {
    state.everyMetric = input.checked;
    drawComparisons();
  });
}

function fillColumns() {
  const boxes = metrics.map((metric, k) => {
    const change = (event) => {
      state.columns[event.target.checked ? "add" : "delete"](k);
      buildBoard();
      drawBoard();
    };
    return el("label", null, el("input", { type: "checkbox", checked: true, change }), metric.name);
  });
  byId("columns").querySelector("fieldset").append(...boxes);
}

function start() {
  drawFacts();
  drawDefinitions();
  if (!datasets.length || !metrics.length) {
    for (const id of ["filters", "view", "images", "deciles", "dives", "comparisons"]) byId(id).hidden = true;
    for (const link of byId("sections").querySelectorAll("a")) {
      link.hidden = byId(link.hash.slice(1)).hidden;
    }
    byId("leaderboard").replaceChildren(byId("leaderboard-title"),
      el("p", { class: "note" }, "No model has a score; the failures below say why."));
    drawFailures();
    return;
  }
  const sets = datasets.map((set, d) => [d, set.name]);
  const all = sets.length > 1 ? [[-1, "All data sets"]] : [];
  state.dataset = sets.length > 1 ? -1 : 0;
  state.metric = firstKnown();
  state.imageDataset = Math.max(0, datasets.findIndex((set) => hasValues(set, state.metric)));
  fillSelect(byId("pick-dataset"), [...all, ...sets], state.dataset);
  fillSelect(byId("pick-metric"), metrics.map((metric, k) => [k, `${metric.name} ${arrow(metric)}`]),
    state.metric);
  byId("pick-reading").parentElement.hidden = !boardRows().some(hasNormalised);
  fillSelect(byId("pick-reading"), [["mean", "score"], ["normalised", "normalised score"]], "mean");
  fillCategories();
  fillColumns();
  state.model = bestModel(imageSet(), state.metric);
  chooseImageDataset(state.imageDataset);
  buildBoard();
  listenFilters();
  listenViewer();
  drawAll();
  byId("dives").hidden = !report.dives.length;
  byId("sections").querySelector("a[href='#dives']").hidden = !report.dives.length;
  drawDives();
  drawFailures();
}

start();
