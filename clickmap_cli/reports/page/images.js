// The best, the worst and every image of one data set, and the dialog that shows one larger.

let pictureStore = null;

// pictures are parsed when the first of them is wanted
function pictures() {
  pictureStore ??= JSON.parse(byId("report-pictures").textContent);
  return pictureStore;
}

const WHY_NOT = { image: "no image", truth: "no ground truth", prediction: "predictions were not kept" };

// text: a picture; null: there is none; undefined: there may be one, but not in this page
function pictureOf(kind, i) {
  const set = pictures()[state.imageDataset];
  return (kind === "prediction" ? set.predictions[state.model] : set[kind])[i];
}

function pictureNode(kind, i) {
  const data = pictureOf(kind, i);
  const picture = data
    ? el("img", { src: `data:image/jpeg;base64,${data}`, alt: "", decoding: "async" })
    : el("span", { class: "absent" }, data === null ? WHY_NOT[kind] : "not in this page");
  return el("span", null, picture, kind);
}

const trio = (i) =>
  el("span", { class: "trio" }, ...Object.keys(WHY_NOT).map((kind) => pictureNode(kind, i)));

const imageSet = () => datasets[state.imageDataset];
const imageModel = () => imageSet().models[state.model];
const imageScores = () => imageModel().scores[state.metric];

function found(images) {
  const wanted = state.query.trim().toLowerCase();
  if (!wanted) return images;
  return images.filter((i) => imageSet().images[i].toLowerCase().includes(wanted));
}

function card(list, place, title) {
  const i = list[place];
  const name = imageSet().images[i];
  const score = number(imageScores()[i], digits[state.metric]);
  const metric = metrics[state.metric].name;
  const there = pictureOf("image", i) !== undefined || pictureOf("prediction", i) !== undefined;
  const line = el("span", { class: "card-line" },
    el("span", { class: "name", title: name }, el("i", null, `${place + 1}`), name),
    el("b", null, `${metric} ${score}`));
  const button = el("button", {
    type: "button", "aria-haspopup": "dialog",
    "aria-label": `${name}, ${metric} ${score}, open larger`,
    click: () => openViewer(list, place, title),
  }, there ? trio(i) : null, line);
  return el("li", null, button);
}

function drawCards(id, word, shown) {
  const metric = metrics[state.metric];
  const title = `${word.toLowerCase()} by ${metric.name}`;
  const images = count(shown.length, "image");
  byId(`${id}-title`).textContent = `${word} ${images} by ${metric.name} ${arrow(metric)}`;
  byId(`${id}-group`).hidden = !shown.length;
  byId(id).replaceChildren(...shown.map((_, place) => card(shown, place, title)));
}

let every = null;

// a new head: another data set has other models
function buildEvery() {
  const first = () => !metrics[state.metric].higher;
  const columns = imageSet().models.map((model, m) => ({ key: m, label: nameOf(model), first }));
  every = sortTable(byId("every-table"), [
    { key: "image", label: "Image", text: true }, { key: "category", label: "Category", text: true },
    ...columns,
  ], drawEvery);
}

function everyValue(i, key) {
  const set = imageSet();
  if (key === "image") return set.images[i];
  if (key === "category") return set.categories[set.category_of[i]];
  return set.models[key].scores[state.metric][i];
}

function drawEvery() {
  const set = imageSet();
  const { key, up } = every.order;
  const rows = found(imagesOf(set));
  if (key !== null) rows.sort((a, b) => compare(everyValue(a, key), everyValue(b, key), up) || a - b);
  const metric = metrics[state.metric];
  byId("every-title").textContent = `Every image: ${metric.name} ${arrow(metric)} of each model`;
  const toRow = (i) => el("tr", null,
    el("th", { scope: "row", class: "text" }, nameButton(rows, i)),
    textCell(everyValue(i, "category")),
    ...set.models.map((model) => cell(number(model.scores[state.metric][i], digits[state.metric]))));
  drawSome(every.body, byId("every-more"), rows, toRow, 50);
}

function nameButton(rows, i) {
  const open = () => openViewer(rows, rows.indexOf(i), "every image");
  return el("button", { type: "button", class: "name", "aria-haspopup": "dialog", click: open },
    imageSet().images[i]);
}

function drawImages() {
  const images = found(imagesOf(imageSet()));
  const metric = metrics[state.metric];
  const [top, bottom] = bestAndWorst(state.metric, imageScores(), images);
  const near = metric.signed ? nearestZero(state.metric, imageScores(), images) : [];
  drawCards("best", "Best", top);
  drawCards("worst", "Worst", bottom);
  drawCards("zero", "Nearest to zero:", near.slice(0, report.n_shown));
  const why = images.length ? `has a score by ${metric.name}` : "is left by the filters";
  byId("no-images").textContent = top.length ? "" : `No image of ${imageSet().name} ${why}.`;
  byId("no-images").hidden = top.length > 0;
  drawEvery();
}

function drawDeciles() {
  const images = imagesOf(imageSet());
  const metric = metrics[state.metric];
  const groups = deciles(imageScores(), worstFirst(state.metric, imageScores(), images));
  const what = `${metric.name} ${arrow(metric)} of ${imageModel().name} on ${imageSet().name}`;
  const legend = groups.length
    ? `${what}: images sorted by score, worst first, and cut into `
      + `${count(groups.length, "group")} of nearly equal size; 1 holds the worst.`
    : `${what}: no image has a score.`;
  byId("deciles-legend").textContent = legend;
  const body = plainTable(byId("decile-table"), "", ["Decile", "Images", "From", "To", "Mean"], 0);
  const d = digits[state.metric];
  body.append(...groups.map((group) => el("tr", null, cell(String(group.name)),
    cell(group.n.toLocaleString("en")), cell(number(group.low, d)), cell(number(group.high, d)),
    el("td", null, el("b", null, number(group.mean, d))))));
  const caption = el("figcaption", null,
    `${metric.name} (${direction(metric)}): mean (dot) and range of each decile`);
  const drawn = groups.some((group) => drawable(group.low) || drawable(group.high));
  byId("decile-chart").replaceChildren(...(drawn ? [caption, decilePlot(groups, what)] : []));
}

const viewer = { list: [], place: 0, title: "" };

function openViewer(list, place, title) {
  Object.assign(viewer, { list, place, title });
  drawViewer();
  byId("viewer").showModal();
}

function step(by) {
  const place = viewer.place + by;
  if (place < 0 || place >= viewer.list.length) return;
  viewer.place = place;
  drawViewer();
}

function drawViewer() {
  const { list, place, title } = viewer;
  const i = list[place];
  const set = imageSet();
  const n = set.n_people[i];
  const facts = [set.name, set.categories[set.category_of[i]], n ? count(n, "person", "people") : "",
    `prediction of ${imageModel().name}`, `${place + 1} of ${list.length} (${title})`];
  byId("viewer-title").textContent = set.images[i];
  byId("viewer-place").textContent = facts.filter(Boolean).join(" · ");
  byId("viewer-previous").disabled = place === 0;
  byId("viewer-next").disabled = place === list.length - 1;
  byId("viewer-pictures").replaceChildren(trio(i));
  const labels = ["Model", ...metrics.map((metric) => `${metric.name} ${arrow(metric)}`)];
  const caption = "Scores of this image, against all people together";
  const body = plainTable(byId("viewer-scores"), caption, labels, 1);
  body.append(...set.models.map((model, m) => el("tr", { class: m === state.model ? "chosen" : null },
    rowHead(nameOf(model)), ...metrics.map((_, k) => viewerScore(model, k, i)))));
}

function viewerScore(model, k, i) {
  const tops = imageSet().models.filter((one) => !one.people).map((one) => one.scores[k][i]);
  const value = model.scores[k][i];
  const top = best(tops, metrics[k].higher);
  const kind = !model.people && value !== null && value === top ? "best" : null;
  return el("td", { class: kind }, el("b", null, number(value, digits[k])));
}

function listenViewer() {
  const steps = { ArrowRight: 1, ArrowLeft: -1 };
  byId("viewer").addEventListener("keydown", (event) => {
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey) return;
    if (byId("viewer-scores").contains(event.target)) return; // which they scroll
    event.preventDefault();
    step(steps[event.key]);
  });
  byId("viewer-previous").addEventListener("click", () => step(-1));
  byId("viewer-next").addEventListener("click", () => step(1));
  byId("viewer-close").addEventListener("click", () => byId("viewer").close());
}
