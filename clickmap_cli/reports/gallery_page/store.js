// What is loaded: pages of pictures, each a script that hands its content over when it runs.

const settings = JSON.parse(document.getElementById("gallery-data").textContent);

const KEPT_PAGES = 96;
const AT_ONCE = 6;

const handedOver = new Map();
globalThis.clickmapGallery = { take: (name, content) => handedOver.set(name, content) };

function loadScript(name, key) {
  return new Promise((resolve, reject) => {
    const script = el("script", { src: `gallery/${name}.js` });
    script.onload = () => {
      script.remove();
      const content = handedOver.get(key);
      handedOver.delete(key);
      if (content === undefined) reject(new Error(`gallery/${name}.js holds nothing`));
      else resolve(content);
    };
    script.onerror = () => {
      script.remove();
      reject(new Error(`gallery/${name}.js is not there; is the folder gallery beside this page?`));
    };
    document.head.append(script);
  });
}

// Pages by name, the most recently used last. What is asked for last is loaded first: it is what
// the reader looks at. A page that nobody waits for any more is not loaded at all.
const pages = new Map();
const waiting = new Map();
let nLoading = 0;

function pageOf(name) {
  if (pages.has(name)) {
    const page = pages.get(name);
    pages.delete(name);
    pages.set(name, page);
    return page;
  }
  const asked = waiting.get(name);
  if (asked) {
    asked.wanted += 1;
    return asked.promise;
  }
  const entry = { wanted: 1, begun: false };
  entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
  waiting.set(name, entry);
  queueMicrotask(loadNext);
  return entry.promise;
}

function noLongerWanted(name) {
  const entry = waiting.get(name);
  if (!entry) return;
  entry.wanted -= 1;
  if (entry.wanted > 0 || entry.begun) return;
  waiting.delete(name);
  entry.resolve(null);
}

function loadNext() {
  const todo = [...waiting].filter(([, entry]) => !entry.begun);
  while (nLoading < AT_ONCE && todo.length) {
    const [name, entry] = todo.pop();
    entry.begun = true;
    nLoading += 1;
    loadScript(name, name).then((page) => {
      pages.set(name, page);
      if (pages.size > KEPT_PAGES) pages.delete(pages.keys().next().value);
      entry.resolve(page);
    }, entry.reject).finally(() => {
      nLoading -= 1;
      waiting.delete(name);
      loadNext();
    });
  }
}
