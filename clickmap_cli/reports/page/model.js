// What the page shows: the report's data, what the reader has chosen, and selections of scores.

const report = withInfinities(JSON.parse(byId("report-data").textContent));
const { metrics, datasets } = report;
const digits = metrics.map((metric, k) =>
  decimals(datasets.flatMap((set) => set.models.map((model) => model.summary[k].mean))),
);

const state = {
  dataset: -1, // -1: all of them
  category: null, // null: all of them
  metric: 0,
  reading: "mean", // or "normalised"
  columns: new Set(metrics.keys()),
  imageDataset: 0,
  model: 0,
  query: "",
  everyMetric: false,
};

const shownDatasets = () =>
  state.dataset < 0 ? [...datasets.keys()] : [state.dataset];

// JSON has no infinities: the greatest number stands for them
function withInfinities(data) {
  const infinite = (value) => (Math.abs(value) === Number.MAX_VALUE ? value * 2 : value);
  for (const model of data.datasets.flatMap((set) => set.models)) {
    model.scores = model.scores.map((column) => column.map((v) => (v === null ? null : infinite(v))));
    for (const summary of model.summary) {
      for (const [key, v] of Object.entries(summary)) if (v !== null) summary[key] = infinite(v);
    }
  }
  return data;
}

// images of a data set that the category filter lets through
function imagesOf(set) {
  const all = [...set.images.keys()];
  if (state.category === null) return all;
  const code = set.categories.indexOf(state.category);
  return all.filter((i) => set.category_of[i] === code);
}

function known(scores, images) {
  return images.filter((i) => scores[i] !== null);
}

function mean(scores, images) {
  return images.length ? images.reduce((sum, i) => sum + scores[i], 0) / images.length : null;
}

const NOTHING = {
  low: null, high: null, people: null, normalised: null, normalised_low: null,
  normalised_high: null, ceiling: null, null: null,
};

// one metric of one model: as reported, or the mean over the images of one category
function summaryOf(set, model, metric, images) {
  if (state.category === null) return model.summary[metric];
  const scores = model.scores[metric];
  const defined = known(scores, images);
  const scored = images.filter((i) => model.scored[i]).length;
  return {
    ...NOTHING,
    n_images: defined.length,
    n_undefined: scored - defined.length,
    mean: mean(scores, defined),
  };
}

// the reader's data sets x models, with a summary a metric
function boardRows() {
  const rows = [];
  for (const d of shownDatasets()) {
    const set = datasets[d];
    const images = imagesOf(set);
    if (!images.length && state.category !== null) continue;
    for (const model of set.models) {
      const summary = metrics.map((_, k) => summaryOf(set, model, k, images));
      const scored = images.filter((i) => model.scored[i]).length;
      rows.push({ d, set, model, summary, scored });
    }
  }
  return rows;
}

// normalised scores exist for all categories together only
const reading = () => (state.category === null ? state.reading : "mean");

// null last, whatever the direction; equal values keep their order
function compare(a, b, up) {
  if (a === null || b === null) return (a === null) - (b === null);
  if (a === b) return 0;
  const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return up ? order : -order;
}

// image numbers from the best or from the worst, undefined scores left out
function ranked(scores, images, up) {
  return known(scores, images).sort((a, b) => compare(scores[a], scores[b], up) || a - b);
}

const bestFirst = (metric, scores, images) => ranked(scores, images, !metrics[metric].higher);
const nearestZero = (metric, scores, images) => known(scores, images)
  .sort((a, b) => Math.abs(scores[a]) - Math.abs(scores[b]) || a - b);
const worstFirst = (metric, scores, images) => ranked(scores, images, metrics[metric].higher);

// how many of n ranked images are listed as best and as worst: no image is in both lists
function endsOf(n, wanted) {
  const most = Math.min(wanted, Math.ceil(n / 2));
  return [most, Math.min(wanted, n - most)];
}

// the best and the worst images of some, the most extreme first
function bestAndWorst(metric, scores, images) {
  const order = bestFirst(metric, scores, images);
  const [nBest, nWorst] = endsOf(order.length, report.n_shown);
  const top = order.slice(0, nBest);
  const chosen = new Set(top);
  const rest = worstFirst(metric, scores, images).filter((i) => !chosen.has(i));
  return [top, rest.slice(0, nWorst)];
}

const hasValues = (set, k) => set.models.some((model) => model.summary[k].mean !== null);

// the metric that the page opens on: the first one that has values
function firstKnown() {
  return Math.max(0, metrics.findIndex((_, k) => datasets.some((set) => hasValues(set, k))));
}

const nameOf = (model) => (model.people ? `people: ${model.name}` : model.name);

// where people predict people no better than another image's people do, nothing lies between
const isMeaningless = (summary) => summary.normalised === null
  && Number.isFinite(summary.ceiling ?? NaN) && Number.isFinite(summary.null ?? NaN);
const share = (summary) => (isMeaningless(summary) ? "n.m." : number(summary.normalised, 2));

// best of some models' values, or null
function best(values, higher) {
  const there = values.filter((value) => value !== null);
  if (there.length < 2) return null;
  return higher ? Math.max(...there) : Math.min(...there);
}

// ten groups of nearly equal size, in the order given; fewer where there are fewer scores
function deciles(scores, order) {
  const groups = [];
  for (let k = 0; k < 10; k++) {
    const from = Math.floor((k * order.length) / 10);
    const to = Math.floor(((k + 1) * order.length) / 10);
    const images = order.slice(from, to);
    if (!images.length) continue;
    const values = images.map((i) => scores[i]);
    groups.push({
      name: groups.length + 1, n: images.length, mean: mean(scores, images),
      low: Math.min(...values), high: Math.max(...values),
    });
  }
  return groups;
}
