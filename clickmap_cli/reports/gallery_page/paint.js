// Maps in colours over their pictures: the definitions are those of clickmap's other figures.

function bytesOf(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let k = 0; k < raw.length; k += 1) bytes[k] = raw.charCodeAt(k);
  return bytes;
}

// The (width x height) levels of a map; undoes `packed_map`.
async function levelsOf(map) {
  const stream = new Blob([bytesOf(map.data)]).stream()
    .pipeThrough(new DecompressionStream("deflate"));
  const split = new Uint8Array(await new Response(stream).arrayBuffer());
  const { width, height } = map;
  const n = width * height;
  const levels = new Uint16Array(n);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0, sum = 0; x < width; x += 1, at += 1) {
      const folded = (split[at] << 8) | split[n + at];
      sum += (folded >> 1) ^ -(folded & 1);
      levels[at] = sum + (y ? levels[at - width] : 0);
    }
  }
  return levels;
}

// A map's levels on other pixels, linear between the middles of its own.
function resampled(levels, width, height, newWidth, newHeight) {
  if (width === newWidth && height === newHeight) return levels;
  const axis = (size, newSize) => {
    const low = new Int32Array(newSize);
    const share = new Float32Array(newSize);
    for (let k = 0; k < newSize; k += 1) {
      const at = Math.min(Math.max(((k + 0.5) * size) / newSize - 0.5, 0), size - 1);
      low[k] = Math.min(Math.floor(at), Math.max(size - 2, 0));
      share[k] = at - low[k];
    }
    return [low, share];
  };
  const [left, across] = axis(width, newWidth);
  const [top, down] = axis(height, newHeight);
  const right = width > 1 ? 1 : 0;
  const below = height > 1 ? width : 0;
  const out = new Uint16Array(newWidth * newHeight);
  for (let y = 0, at = 0; y < newHeight; y += 1) {
    const row = top[y] * width;
    for (let x = 0; x < newWidth; x += 1, at += 1) {
      const k = row + left[x];
      const upper = levels[k] + (levels[k + right] - levels[k]) * across[x];
      const lower = levels[k + below] + (levels[k + below + right] - levels[k + below]) * across[x];
      out[at] = upper + (lower - upper) * down[y] + 0.5;
    }
  }
  return out;
}

const valueOf = (map, level) => map.low + ((map.high - map.low) * level) / map.levels;

// How often each level occurs in a map.
function histogram(map, levels) {
  const counts = new Uint32Array(map.levels + 1);
  for (const level of levels) counts[level] += 1;
  return counts;
}

// What is shown as 1, in the map's own unit; null for ranks.
function fullHeat(map, counts, scale) {
  if (scale === "max") return map.high;
  if (scale === "none") return 1;
  if (scale === "rank") return null;
  let sum = 0;
  let n = 0;
  counts.forEach((count, level) => {
    sum += count * Math.max(valueOf(map, level), 0);
    n += count;
  });
  return (settings.even_spreads * sum) / n;
}

// Heat in 0..1 of each level.
function heatOfLevels(map, counts, scale) {
  const heat = new Float64Array(map.levels + 1);
  if (scale === "rank") {
    const n = counts.reduce((sum, count) => sum + count, 0);
    let below = 0;
    counts.forEach((count, level) => {
      heat[level] = (below + (count + 1) / 2) / n;
      below += count;
    });
    return heat;
  }
  const full = fullHeat(map, counts, scale);
  if (!(full > 0)) return heat;
  for (let level = 0; level <= map.levels; level += 1) {
    heat[level] = Math.min(Math.max(valueOf(map, level) / full, 0), 1);
  }
  return heat;
}

// How much of a pixel its heat covers: the hotter, the more; at an alpha of 1 all is covered.
function coverOf(heat, alpha) {
  return alpha * heat ** Math.min(0.5, 2 * (1 - alpha));
}

const palettes = new Map();

function paletteOf(colormap) {
  if (!palettes.has(colormap)) {
    palettes.set(colormap, bytesOf(settings.colormaps.find((one) => one.name === colormap).colours));
  }
  return palettes.get(colormap);
}

// look: { colormap, scale, alpha }. Colour and cover of each level, as a canvas wants them.
function paintOfLevels(picture, look) {
  const colours = paletteOf(look.colormap);
  const heat = heatOfLevels(picture.map, picture.counts, look.scale);
  const paint = new Uint8ClampedArray(4 * heat.length);
  heat.forEach((value, level) => {
    const place = 3 * Math.min(Math.floor(value * 256), 255);
    paint[4 * level] = colours[place];
    paint[4 * level + 1] = colours[place + 1];
    paint[4 * level + 2] = colours[place + 2];
    paint[4 * level + 3] = 255 * coverOf(value, look.alpha);
  });
  return new Uint32Array(paint.buffer);
}

const brush = document.createElement("canvas").getContext("2d");

// Draws a picture: what lies below (a photograph, or nothing), and the heat over it.
function paint(canvas, picture, look) {
  const { width, height } = picture;
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (picture.photo) context.drawImage(picture.photo, 0, 0, width, height);
  if (look.alpha === 0) return;
  const ofLevel = paintOfLevels(picture, look);
  const heat = brush.createImageData(width, height);
  const pixels = new Uint32Array(heat.data.buffer);
  const { levels } = picture;
  for (let at = 0; at < pixels.length; at += 1) pixels[at] = ofLevel[levels[at]];
  if (brush.canvas.width < width) brush.canvas.width = width;
  if (brush.canvas.height < height) brush.canvas.height = height;
  brush.putImageData(heat, 0, 0);
  context.drawImage(brush.canvas, 0, 0, width, height, 0, 0, width, height);
}

// A picture ready to be painted: its photograph and its map's levels on the same pixels.
async function pictureOf(data) {
  const { map } = data;
  const jpeg = data.photo ? new Blob([bytesOf(data.photo)], { type: "image/jpeg" }) : null;
  const [photo, levels] = await Promise.all([jpeg && createImageBitmap(jpeg), levelsOf(map)]);
  const width = photo ? photo.width : map.width;
  const height = photo ? photo.height : map.height;
  return {
    photo, width, height, map, counts: histogram(map, levels), state: data.state, note: data.note,
    levels: resampled(levels, map.width, map.height, width, height),
  };
}
