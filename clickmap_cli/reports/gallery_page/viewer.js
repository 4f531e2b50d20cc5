// One image, large: the picture, the heat, both together, and everybody who made the map.

const viewer = { open: false, place: 0, data: null, mean: null, person: -1, turn: 0, scroll: 0 };

function openViewer(place) {
  viewer.scroll = scrollY;
  showImage(place);
  viewer.open = true;
  document.body.classList.add("viewing");
  for (const id of ["grid", "find", "remarks"]) byId(id).hidden = true;
  for (const id of ["viewer", "steps"]) byId(id).hidden = false;
  scrollTo(0, 0);
  byId("viewer-title").focus({ preventScroll: true });
}

function closeViewer() {
  if (!viewer.open) return;
  viewer.open = false;
  viewer.turn += 1;
  dropViewed();
  document.body.classList.remove("viewing");
  for (const id of ["grid", "find"]) byId(id).hidden = false;
  byId("remarks").hidden = !index.remarks.length;
  for (const id of ["viewer", "steps"]) byId(id).hidden = true;
  history.replaceState(null, "", location.pathname + location.search);
  scrollTo(0, viewer.scroll);
  measure();
  for (const cell of grid.cells.values()) placeCell(cell);
  repaintGrid();
  focusPlace(viewer.place);
}

function dropViewed() {
  viewer.mean?.photo?.close();
  Object.assign(viewer, { data: null, mean: null, picture: null, person: -1 });
}

function stepImage(by) {
  const place = viewer.place + by;
  if (place >= 0 && place < state.order.length) showImage(place);
}

async function showImage(place) {
  viewer.place = place;
  viewer.turn += 1;
  const turn = viewer.turn;
  const i = state.order[place];
  const name = index.names[i];
  byId("viewer-title").textContent = name;
  byId("viewer-facts").textContent = [
    index.categories.length > 1 ? index.categories[index.category[i]] : "", factsOf(i, true),
    `${(place + 1).toLocaleString("en")} of ${state.order.length.toLocaleString("en")}`,
  ].filter(Boolean).join(" · ");
  byId("previous").disabled = place === 0;
  byId("next").disabled = place === state.order.length - 1;
  history.replaceState(null, "", `#${encodeURIComponent(wellFormed(name))}`);
  byId("people").hidden = true;
  byId("viewer-note").textContent = "";
  try {
    const [data, picture] = await viewedOf(i);
    if (turn !== viewer.turn) {
      picture.photo?.close();
      return;
    }
    dropViewed();
    Object.assign(viewer, { data, mean: picture, picture });
    fillPeople();
    paintViewer();
    byId("viewer").dataset.image = i;
  } catch (error) {
    if (turn === viewer.turn) byId("viewer-note").textContent = error.message;
  }
}

// half a surrogate pair has no place in an address
const wellFormed = (text) => [...text].map((c) => (/^[\ud800-\udfff]$/.test(c) ? "?" : c)).join("");

async function viewedOf(i) {
  if (index.opened.length) {
    const name = index.opened[i];
    const data = await loadScript(name, name);
    return [data, await pictureOf(data)];
  }
  const page = await pageOf(pageName(i));
  const data = page[i % index.page_images];
  return [data, await pictureOf(data)];
}

function paintViewer() {
  const { picture } = viewer;
  if (!picture) return;
  const { look } = state;
  for (const id of ["view-image", "view-heat", "view-both"]) {
    byId(id).style.aspectRatio = `${picture.width} / ${picture.height}`;
  }
  paint(byId("view-image"), picture, { ...look, alpha: 0 });
  paint(byId("view-heat"), picture, { ...look, alpha: 1 });
  paint(byId("view-both"), picture, look);
  drawScale();
}

// the colour bar, with what its ends mean
function drawScale() {
  const { map, counts } = viewer.picture;
  const bar = byId("scale-bar");
  const context = bar.getContext("2d");
  const strip = context.createImageData(256, 1);
  const colours = paletteOf(state.look.colormap);
  for (let k = 0; k < 256; k += 1) {
    strip.data.set([colours[3 * k], colours[3 * k + 1], colours[3 * k + 2], 255], 4 * k);
  }
  bar.width = 256;
  bar.height = 1;
  context.putImageData(strip, 0, 0);
  const { scale } = state.look;
  const full = fullHeat(map, counts, scale);
  byId("scale-low").textContent = scale === "rank" ? "lowest pixel" : "0";
  byId("scale-high").textContent = scale === "rank" ? "highest pixel"
    : scale === "sum" ? `${settings.even_spreads} times an even spread` : short(full);
}

const short = (value) => (value !== 0 && Math.abs(value) < 0.001
  ? value.toExponential(2) : String(Number(value.toPrecision(3)))).replace("-", "−");

function fillPeople() {
  const people = viewer.data.people ?? [];
  byId("people").hidden = !people.length;
  const everyone = personButton(-1, "everyone");
  byId("people-list").style.setProperty("--aspect", viewer.mean.width / viewer.mean.height);
  byId("people-list").replaceChildren(everyone,
    ...people.map((person, k) => personButton(k, person.name)));
  markPerson(false);
  const { state: shown, note } = viewer.picture;
  byId("viewer-note").textContent = [
    shown === "shown" ? "" : `Image ${shown}: ${note}.`,
    people.length ? "" : "Written without participants' maps: these are thumbnails, enlarged.",
  ].filter(Boolean).join(" ");
}

function personButton(k, name) {
  const canvas = el("canvas", { "aria-hidden": "true", width: 1, height: 1 });
  const clicks = k < 0 ? "" : count(viewer.data.people[k].clicks, "click");
  const button = el("button", {
    type: "button", title: clicks ? `${name}, ${clicks}` : name, click: () => choosePerson(k),
  }, canvas, el("span", { class: "name" }, name));
  const item = el("li", { "data-person": k }, button);
  nearby.observe(item);
  return item;
}

// people's maps are unpacked when they come into sight
const nearby = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      nearby.unobserve(target);
      drawPerson(target);
    }
  }
}, { rootMargin: "300px" });

async function drawPerson(item) {
  const k = Number(item.dataset.person);
  const picture = await pictureOfPerson(k);
  if (!picture || !item.isConnected) return;
  item.picture = picture;
  paint(item.querySelector("canvas"), picture, { ...state.look, alpha: 1 });
}

async function pictureOfPerson(k) {
  if (k < 0) return viewer.mean;
  const { data, turn } = viewer;
  const { map } = data.people[k];
  const levels = await levelsOf(map);
  if (turn !== viewer.turn) return null;
  return { photo: null, width: map.width, height: map.height, map, counts: histogram(map, levels), levels };
}

async function choosePerson(k) {
  const { mean, turn } = viewer;
  viewer.person = k;
  markPerson(true);
  const picture = await pictureOfPerson(k);
  if (!picture || turn !== viewer.turn || k !== viewer.person) return;
  const { photo, width, height } = mean;
  const levels = resampled(picture.levels, picture.map.width, picture.map.height, width, height);
  viewer.picture = k < 0 ? mean : { ...picture, photo, width, height, levels };
  paintViewer();
  byId("viewer").dataset.person = k;
}

function markPerson(inSight) {
  const people = viewer.data.people ?? [];
  const k = viewer.person;
  for (const item of byId("people-list").children) {
    const chosen = Number(item.dataset.person) === k;
    item.firstChild.setAttribute("aria-pressed", chosen);
    if (chosen && inSight) item.scrollIntoView({ block: "nearest" });
  }
  byId("people-title").textContent = k < 0 ? `Everyone (${count(people.length, "map")})`
    : `Participant ${people[k].name} (${count(people[k].clicks, "click")}), ${k + 1} of ${people.length}`;
}

function stepPerson(by) {
  const n = viewer.data?.people?.length ?? 0;
  const k = viewer.person + by;
  if (k >= -1 && k < n) choosePerson(k);
}

function repaintViewer() {
  paintViewer();
  for (const item of byId("people-list").children) {
    if (item.picture) paint(item.querySelector("canvas"), item.picture, { ...state.look, alpha: 1 });
  }
}

function viewerKey(event) {
  const acts = {
    ArrowRight: () => stepImage(1), ArrowLeft: () => stepImage(-1),
    ArrowDown: () => stepPerson(1), ArrowUp: () => stepPerson(-1),
  };
  const hasPeople = Boolean(viewer.data?.people?.length);
  if (!(event.key in acts) || (!hasPeople && event.key !== "ArrowRight" && event.key !== "ArrowLeft")) return;
  event.preventDefault();
  acts[event.key]();
}
