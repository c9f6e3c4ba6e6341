// The stage. One class draws one mount; `hub` holds what mounts share: pictures by digest, frames by
// scene. Reading order: bytes -> hub -> colours and pixels -> words -> the Stage itself.

const LAST = 50; // lambda runs over i / 50, 51 values
const COMMIT_MS = 150;
const PLAY_MS = 600;
const SCENES_KEPT = 4;
const DECODED_KEPT = 32;
const ENCODED_BYTES = 64 * 2 ** 20;
const TERMS = ["saliency_0", "saliency_1", "label_smooth", "data_smooth", "prior", "transport"];
const OVERLAYS = ["blocks", "heat", "contour", "spotlight"];
const IDLE = "λ is not used: the label is independent of it";
const STRENGTHS = { heat: 66, contour: 100, spotlight: 88 }; // percent, until the visitor says otherwise
const KEPT = "mixviz-overlay-strength";
const FORMULAS = [
  ["total", "the objective", "<i>E</i>(<i>z</i>, Π) ="],
  ["saliency_0", "A’s saliency hidden", "∑ <i>z<sub>i</sub></i>(Π<sub>0</sub><sup>⊤</sup><i>s</i><sub>0</sub>)<sub><i>i</i></sub>"],
  ["saliency_1", "B’s saliency hidden", '<span class="op">+</span>∑ (1−<i>z<sub>i</sub></i>)(Π<sub>1</sub><sup>⊤</sup><i>s</i><sub>1</sub>)<sub><i>i</i></sub>'],
  ["label_smooth", "neighbours differ", '<span class="op">+</span><i>β</i> ∑ (<i>z<sub>i</sub></i>−<i>z<sub>j</sub></i>)<sup>2</sup>'],
  ["data_smooth", "seams in the picture", '<span class="op">+</span><i>γ</i> ∑ <i>φ<sub>ij</sub></i>(<i>z<sub>i</sub></i>, <i>z<sub>j</sub></i>)'],
  ["prior", "far from λ", '<span class="op">−</span><i>η</i> ∑ log <i>p</i>(<i>z<sub>i</sub></i>)'],
  ["transport", "blocks carried far", '<span class="op">+</span><i>ξ</i> ∑ ⟨Π<sub><i>k</i></sub>, <i>C</i>⟩'],
];
const UNIT_OF = { label_smooth: "beta_E", data_smooth: "gamma_E", prior: "eta_E", transport: "xi" };
const LETTER = { beta_E: "β", gamma_E: "γ", eta_E: "η", xi: "ξ" };
const CONTRACT = { exact: "=", recomputed: "↻", encouraged: "≈", independent: "∥", single: "1" };

// ---------------------------------------------------------------- bytes

/** A message is a header length, a JSON header and, from the next multiple of 8, a body. */
function unpack(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  return [header, bytes.slice(Math.ceil((4 + length) / 8) * 8).buffer];
}

async function inflate(buffer) {
  const stream = new Blob([buffer]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

function readFrame(h, grid, levels, buffer) {
  const n2 = grid * grid;
  const [labels, s0, s1, terms, m0, m1, label, data, prior] = h.at;
  const values = new Float64Array(buffer, terms, 7);
  return {
    lam: h.lam,
    weight: h.weight,
    status: h.status,
    notices: h.notices,
    labels: new Uint8Array(buffer, labels, n2),
    source: [new Uint16Array(buffer, s0, n2), new Uint16Array(buffer, s1, n2)],
    terms: Object.fromEntries([...TERMS, "total"].map((name, i) => [name, values[i]])),
    moved: [new Float32Array(buffer, m0, n2), new Float32Array(buffer, m1, n2)],
    label: new Float32Array(buffer, label, n2 * (levels + 1)),
    data: new Float32Array(buffer, data, n2 * (levels + 1)),
    prior: new Float32Array(buffer, prior, levels + 1),
  };
}

function readScene(h, buffer) {
  const n2 = h.grid * h.grid;
  const blocks = h.saliency.map((s) => new Float32Array(buffer, s.blocks, n2));
  return { ...h, blocks, top: Math.max(1e-12, ...blocks[0], ...blocks[1]) };
}

function readSteps(h, grid, buffer) {
  const n2 = grid * grid;
  const count = h.captions.length;
  const Kind = h.kind === "swap" ? Uint8Array : Int16Array;
  const all = new Kind(buffer, h.states, count * n2);
  return {
    ...h,
    objective: new Float64Array(buffer, h.objective, count),
    states: Array.from({ length: count }, (_, i) => all.subarray(i * n2, (i + 1) * n2)),
  };
}

// ---------------------------------------------------------------- hub

const hub = (window.mixvizStage ??= { waiting: new Map() });
hub.scenes ??= new Map(); // scene key -> Map(millionths of lambda -> frame)
hub.shelf ??= new Map(); // digest -> encoded bytes
hub.decoded ??= new Map(); // digest -> picture
hub.stages ??= new Map(); // parentElement -> Stage
hub.seen ??= new WeakMap(); // parentElement -> bytes last handled
hub.draws ??= []; // milliseconds of the last draws, for whoever measures

const slot = (lam) => Math.round(lam * 1e6);

function framesOf(key) {
  const held = hub.scenes.get(key) ?? new Map();
  hub.scenes.delete(key);
  hub.scenes.set(key, held);
  const shown = new Set([...hub.stages.values()].map((s) => s.scene?.key));
  for (const old of hub.scenes.keys()) {
    if (hub.scenes.size <= SCENES_KEPT) break;
    if (old !== key && !shown.has(old)) hub.scenes.delete(old);
  }
  return held;
}

async function takeFeed(bytes) {
  const [header, body] = unpack(bytes);
  const frames = framesOf(header.key);
  const news = header.frames.filter((h) => !frames.has(slot(h.lam)));
  if (!news.length) return;
  const buffer = await inflate(body);
  for (const h of news) frames.set(slot(h.lam), readFrame(h, header.grid, header.levels, buffer));
  for (const stage of hub.stages.values()) stage.framesCame(header.key);
}

function takeShelf(bytes) {
  const [header, buffer] = unpack(bytes);
  for (const { digest, at, size } of header.items) {
    if (!hub.shelf.has(digest)) hub.shelf.set(digest, new Uint8Array(buffer.slice(at, at + size)));
  }
  let held = 0;
  for (const encoded of hub.shelf.values()) held += encoded.length;
  for (const [digest, encoded] of hub.shelf) {
    if (held <= ENCODED_BYTES) break;
    if (header.items.some((item) => item.digest === digest)) continue;
    hub.shelf.delete(digest);
    held -= encoded.length;
  }
  for (const stage of hub.stages.values()) stage.picturesCame();
}

/** The decoded picture, or null while it is on its way; the stages are told when it came. */
function picture(digest) {
  const held = hub.decoded.get(digest);
  if (held && held !== "soon") {
    hub.decoded.delete(digest);
    hub.decoded.set(digest, held);
    return held;
  }
  if (!held && hub.shelf.has(digest)) {
    hub.decoded.set(digest, "soon");
    decode(hub.shelf.get(digest)).then(
      (ready) => {
        hub.decoded.set(digest, ready);
        for (const old of hub.decoded.keys()) {
          if (hub.decoded.size <= DECODED_KEPT) break;
          if (old !== digest) hub.decoded.delete(old);
        }
        for (const stage of hub.stages.values()) stage.picturesCame();
      },
      () => {
        hub.decoded.delete(digest);
        hub.shelf.delete(digest);
        console.warn(`mixviz: the picture ${digest} cannot be decoded`);
      },
    );
  }
  return null;
}

async function decode(encoded) {
  const bitmap = await createImageBitmap(new Blob([encoded]), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const kept = toPicture(bitmap, bitmap.width);
  bitmap.close();
  return kept;
}

function toPicture(image, size) {
  const canvas = makeCanvas(size);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(image, 0, 0, size, size);
  const { data } = context.getImageData(0, 0, size, size);
  return { size, canvas, data, words: new Uint32Array(data.buffer) };
}

// ---------------------------------------------------------------- colours and pixels

const hex = (c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16));
const MAGMA = "#000004 #140e36 #3b0f70 #641a80 #8c2981 #b73779 #de4968 #f7705c #fe9f6d #fecf92 #fcfdbf"
  .split(" ")
  .map(hex);
const MIX = [hex("#0072B2"), hex("#E8EAEB"), hex("#D55E00")];

function ramp(stops, share) {
  const v = Math.max(0, Math.min(1, share)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(v));
  return stops[i].map((low, k) => Math.round(low + (stops[i + 1][k] - low) * (v - i)));
}

const rgb = (c) => `rgb(${c[0]},${c[1]},${c[2]})`;
const MAGMA_CSS = `linear-gradient(90deg,${MAGMA.map(rgb).join(",")})`;

function makeCanvas(size) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  return canvas;
}

/** Pixels of block b of a side of `size`: [x, y, width, height]. */
function cell(size, grid, b) {
  const r = Math.floor(b / grid);
  const c = b % grid;
  const x = Math.round((c * size) / grid);
  const y = Math.round((r * size) / grid);
  return [x, y, Math.round(((c + 1) * size) / grid) - x, Math.round(((r + 1) * size) / grid) - y];
}

/** Copies block `from` of `words` to place `to` of `out`; `share` < 1 lets `mat` through. */
function layBlock(out, words, size, grid, from, to, share, mat) {
  const [x, y, w, h] = cell(size, grid, to);
  if (from < 0) {
    const flat = (255 << 24) | (mat[2] << 16) | (mat[1] << 8) | mat[0];
    for (let r = 0; r < h; r++) out.fill(flat, (y + r) * size + x, (y + r) * size + x + w);
    return;
  }
  const [u, v, , tall] = cell(size, grid, from);
  for (let r = 0; r < h; r++) {
    const at = (y + r) * size + x;
    const source = (v + Math.min(r, tall - 1)) * size + u;
    if (share >= 1) {
      out.set(words.subarray(source, source + w), at);
      continue;
    }
    for (let c = 0; c < w; c++) {
      const p = words[source + c];
      const red = mat[0] + ((p & 255) - mat[0]) * share;
      const green = mat[1] + (((p >> 8) & 255) - mat[1]) * share;
      const blue = mat[2] + (((p >> 16) & 255) - mat[2]) * share;
      out[at + c] = (255 << 24) | (blue << 16) | (green << 8) | red;
    }
  }
}

/** (1 - z) A + z B to rounding, z = t / m, each place from its own source block. */
function mixInto(out, a, b, size, grid, source, labels, levels, mat) {
  for (let j = 0; j < grid * grid; j++) {
    const t = labels[j];
    if (t === 0 || t === levels || source[0][j] < 0 || source[1][j] < 0) {
      const q = t === levels ? 1 : 0;
      layBlock(out, q ? b : a, size, grid, source[q][j], j, 1, mat);
      continue;
    }
    const [x, y, w, h] = cell(size, grid, j);
    const [xa, ya] = cell(size, grid, source[0][j]);
    const [xb, yb] = cell(size, grid, source[1][j]);
    const s = levels - t;
    const half = levels >> 1;
    for (let r = 0; r < h; r++) {
      const at = (y + r) * size + x;
      const pa = (ya + r) * size + xa;
      const pb = (yb + r) * size + xb;
      for (let c = 0; c < w; c++) {
        const p = a[pa + c];
        const q = b[pb + c];
        const red = ((p & 255) * s + (q & 255) * t + half) / levels;
        const green = (((p >> 8) & 255) * s + ((q >> 8) & 255) * t + half) / levels;
        const blue = (((p >> 16) & 255) * s + ((q >> 16) & 255) * t + half) / levels;
        out[at + c] = (255 << 24) | (blue << 16) | (green << 8) | red;
      }
    }
  }
}

/** A blur of `sigma` pixels along rows, turned by a quarter, so that two of them blur a square. */
function blurTurned(values, side, sigma) {
  const reach = Math.ceil(3 * sigma);
  const kernel = Array.from({ length: 2 * reach + 1 }, (_, k) => Math.exp(-0.5 * ((k - reach) / sigma) ** 2));
  const whole = kernel.reduce((sum, v) => sum + v, 0);
  const out = new Float32Array(side * side);
  for (let r = 0; r < side; r++) {
    for (let c = 0; c < side; c++) {
      let sum = 0;
      for (let k = -reach; k <= reach; k++) sum += kernel[k + reach] * values[r * side + Math.max(0, Math.min(side - 1, c + k))];
      out[c * side + r] = sum / whole;
    }
  }
  return out;
}

/**
 * The map on a small square, in units of its own peak. A gradient's map is speckled at the pixel:
 * blurred by a fortieth of the side, regions stand out and level lines can be read.
 */
function softMap(pic) {
  if (pic.soft) return pic.soft;
  const side = Math.min(96, pic.size);
  const { data } = toPicture(pic.canvas, side);
  const raw = Float32Array.from({ length: side * side }, (_, i) => data[4 * i] / 255);
  const values = blurTurned(blurTurned(raw, side, side / 40), side, side / 40);
  const sorted = Float32Array.from(values).sort().reverse();
  let all = 0;
  for (const v of sorted) all += v;
  const holding = (share) => {
    let sum = 0;
    for (const v of sorted) if ((sum += v) >= share * all) return v;
    return 0;
  };
  pic.soft = { side, values, half: holding(0.5), most: holding(0.8), bright: sorted[Math.floor(sorted.length * 0.05)], top: sorted[0] };
  return pic.soft;
}

/** Level lines by marching squares; outside the picture the map is 0, so that lines close. */
function levelLines({ side, values }, level, size) {
  const at = (r, c) => (r < 0 || c < 0 || r >= side || c >= side ? 0 : values[r * side + c]);
  const place = (v) => Math.max(0, Math.min(size, ((v + 0.5) * size) / side));
  const path = new Path2D();
  const corner = [[0, 0], [0, 1], [1, 1], [1, 0]];
  for (let r = -1; r < side; r++) {
    for (let c = -1; c < side; c++) {
      const v = corner.map(([dr, dc]) => at(r + dr, c + dc));
      const cuts = [];
      for (let e = 0; e < 4; e++) {
        const [p, q] = [v[e], v[(e + 1) % 4]];
        if (p > level === q > level) continue;
        const f = (level - p) / (q - p);
        const [[r0, c0], [r1, c1]] = [corner[e], corner[(e + 1) % 4]];
        cuts.push([place(c + c0 + f * (c1 - c0)), place(r + r0 + f * (r1 - r0))]);
      }
      // A saddle is joined the way its middle says.
      if (cuts.length === 4 && (v[0] + v[1] + v[2] + v[3]) / 4 > level === v[0] > level) cuts.push(cuts.shift());
      for (let k = 0; k + 1 < cuts.length; k += 2) {
        path.moveTo(...cuts[k]);
        path.lineTo(...cuts[k + 1]);
      }
    }
  }
  return path;
}

function tinted(soft, colour) {
  const canvas = makeCanvas(soft.side);
  const context = canvas.getContext("2d");
  const image = context.createImageData(soft.side, soft.side);
  for (let i = 0; i < soft.values.length; i++) image.data.set(colour(soft.values[i]), 4 * i);
  context.putImageData(image, 0, 0);
  return canvas;
}

// ---------------------------------------------------------------- words

const FRACTIONS = { "1/2": "½", "1/3": "⅓", "2/3": "⅔", "1/4": "¼", "3/4": "¾", "1/5": "⅕", "2/5": "⅖", "3/5": "⅗", "4/5": "⅘", "1/6": "⅙", "5/6": "⅚", "1/8": "⅛", "3/8": "⅜", "5/8": "⅝", "7/8": "⅞" };
const gcd = (a, b) => (b ? gcd(b, a % b) : a);
function fraction(t, m) {
  if (t === 0 || t === m) return t ? "1" : "0";
  const g = gcd(t, m);
  return FRACTIONS[`${t / g}/${m / g}`] ?? (t / m).toFixed(2).slice(1);
}
const minus = (text) => text.replace("-", "−");
const percent = (v, digits = 1) => `${(100 * v).toFixed(digits)}\u2009%`;
const milli = (v) => (Number.isFinite(v) ? minus((1000 * v).toFixed(1).replace(/^-(0\.0)$/, "$1")) : "∞");
const signed = (v) => (Number.isFinite(v) && v >= -5e-5 ? "+" : "") + milli(v);
const NUMBERS = ["None", "One", "Two", "Three", "Four"];
const plural = (n, one) => `${n} ${one}${n === 1 ? "" : "s"}`;
const tag = (letter) => `<span class="tag ${letter}">${letter}</span>`;
const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** Four-decimal texts that add up as printed: what rounding leaves goes to the terms nearest to it. */
function addUp(parts, total) {
  const unit = 1e4;
  const whole = parts.map((v) => Math.round(v * unit));
  let rest = Math.round(total * unit) - whole.reduce((a, b) => a + b, 0);
  if (Math.abs(rest) > parts.length) return parts.map((v) => minus(v.toFixed(4)));
  const order = parts.map((v, i) => [v * unit - whole[i], i]).sort((a, b) => (rest > 0 ? b[0] - a[0] : a[0] - b[0]));
  for (const [, i] of order) {
    if (!rest) break;
    whole[i] += Math.sign(rest);
    rest -= Math.sign(rest);
  }
  return whole.map((v) => minus((v / unit).toFixed(4)));
}

/** How strongly each overlay is drawn, in percent: this browser tab's own, the server never knows. */
function keptStrengths() {
  let kept = {};
  try {
    kept = JSON.parse(sessionStorage.getItem(KEPT)) ?? {};
  } catch {
    // Storage is closed to this page, or holds what we did not write.
  }
  const fits = (v) => Number.isFinite(v) && v >= 0 && v <= 100;
  return Object.fromEntries(Object.entries(STRENGTHS).map(([mode, usual]) => [mode, fits(kept[mode]) ? kept[mode] : usual]));
}

function keepStrengths(strengths) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(strengths));
  } catch {
    // Storage is closed to this page; the strengths then last as long as the stage.
  }
}

// ---------------------------------------------------------------- the stage

const PANELS = ["A", "B", "sA", "sB", "z", "mA", "mB", "mix"];
const LANE = { A: 0, sA: 0, mA: 0, B: 1, sB: 1, mB: 1 };
const SVG = "http://www.w3.org/2000/svg";

const panelHtml = (name, place, owner) =>
  `<figure class="pan${owner ? "" : " lone"}" style="${place}" data-p="${name}"><figcaption></figcaption>` +
  `<div class="cv ${owner}"><canvas class="base" role="img"></canvas><canvas class="top" aria-hidden="true"></canvas></div>` +
  `${owner ? "" : '<div class="under"></div>'}</figure>`;
const lanePair = (column, name) =>
  panelHtml(`${name}A`, `grid-column:${column};grid-row:2`, "A") + panelHtml(`${name}B`, `grid-column:${column};grid-row:3`, "B");
const head = (column, name) => `<div class="colh" style="grid-column:${column};grid-row:1"><span>${column}</span>${name}</div>`;
const foot = (column, inner, extra = "") => `<div class="foot ${extra}" style="grid-column:${column}">${inner}</div>`;
const STRENGTH =
  '<label class="strength" title="Strength of the overlay"><svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="6.5"/><path d="M8 1.5a6.5 6.5 0 0 1 0 13z"/></svg>' +
  '<input type="range" min="0" max="100" step="2" aria-label="Strength of the overlay"></label>';
const PLAY = '<svg class="go" viewBox="0 0 10 12" aria-hidden="true"><path d="M1 1v10l8-5z"/></svg>';
const stepper = (id, name) =>
  `<button class="btn sq" data-do="${id}-prev" aria-label="previous ${name}">‹</button>` +
  `<button class="btn sq" data-do="${id}-play" aria-label="play every ${name}" aria-pressed="false">${PLAY}</button>` +
  `<button class="btn sq" data-do="${id}-next" aria-label="next ${name}">›</button>`;

const HTML = `
<div class="frame">
  <div class="status"><div class="say"><b></b><p></p><button class="btn fix" hidden></button><button class="more" hidden></button></div>
    <div class="tools">${STRENGTH}<button class="btn sq" data-do="help" aria-label="keyboard help" aria-haspopup="dialog">?</button>
    <div class="seg" role="group" aria-label="How saliency is drawn">${OVERLAYS.map((o) => `<button data-overlay="${o}" aria-pressed="false">${o[0].toUpperCase()}${o.slice(1)}</button>`).join("")}</div></div></div>
  <div class="stage">
    <div class="lanes" tabindex="0" role="group" aria-label="Stage. Arrow keys move the block, Enter pins it, Escape releases it, Space plays the moves, hold X for the bare photographs, question mark for help.">
      ${head(1, "Pictures")}${lanePair(1, "")}${foot(1, '<button class="btn" data-do="swap">Swap A, B <kbd>S</kbd></button>')}
      ${head(2, "Saliency")}${lanePair(2, "s")}${foot(2, '<div class="scale"><span>0</span><span class="ramp"></span><span class="top"></span></div>')}
      ${head(3, "Mask")}${panelHtml("z", "grid-column:3", "")}${foot(3, stepper("swap", "swap move"))}
      ${head(4, "Move")}${lanePair(4, "m")}${foot(4, `<button class="btn" data-do="play">${PLAY}Play <kbd class="opt">Space</kbd></button>`)}
      ${head(5, "Mix")}${panelHtml("mix", "grid-column:5", "")}${foot(5, "<span>Hold <kbd>X</kbd> bare photos</span>", "hint")}
      <div class="tip" hidden></div>
    </div>
    <div class="card"><h3><span></span><small></small></h3>
      <div class="crops"><div><canvas></canvas><span>${tag("A")}<span></span></span></div><div><canvas></canvas><span>${tag("B")}<span></span></span></div><div><canvas></canvas><span>the mix</span></div></div>
      <table class="costs"><thead></thead><tbody></tbody></table><p class="words"></p></div>
    <div class="band"><div class="bh"><b>λ asked</b><span><b class="lam"></b> for B</span><span class="r"></span></div>
      <div class="plot"><div class="grab" role="slider" tabindex="0" aria-label="lambda, the share asked for picture B" aria-valuemin="0" aria-valuemax="1"></div><svg aria-hidden="true"></svg><div class="busy"></div></div></div>
    <div class="gauge"><h3>Label given <span class="badge"></span></h3>
      ${["asked", "given"].map((w) => `<div class="grow" data-g="${w}"><span>${w}</span><span class="two"><span class="a"></span><span class="b"></span></span><span class="num"><span class="At"></span><span class="Bt"></span></span></div>`).join("")}
      <p class="note"></p></div>
  </div>
  <div class="eq" role="group" aria-label="The objective with its current values">${FORMULAS.map(([name, words, math]) => `<div data-term="${name}"${name === "total" ? "" : ' tabindex="0"'}><span class="nm">${words}</span><span class="fm">${math}</span><span class="vl"></span></div>`).join("")}</div>
  <div class="sr" aria-live="polite"></div>
  <div class="help" hidden><div role="dialog" aria-modal="true" aria-label="Keyboard help"><h3>Keys <button class="btn" data-do="help">Close <kbd>Esc</kbd></button></h3><dl>
    <dt><kbd>←</kbd> <kbd>↑</kbd> <kbd>→</kbd> <kbd>↓</kbd></dt><dd>move the block; on λ, change it</dd>
    <dt><kbd>Enter</kbd> or click</dt><dd>pin the block</dd><dt><kbd>Esc</kbd></dt><dd>release it, leave the steps</dd>
    <dt><kbd>Space</kbd></dt><dd>play the moves</dd><dt>hold <kbd>X</kbd></dt><dd>bare photographs</dd>
    <dt><kbd>S</kbd></dt><dd>swap A and B</dd><dt><kbd>Page Up</kbd> <kbd>Home</kbd> <kbd>End</kbd></dt><dd>λ in larger steps</dd></dl></div></div>
</div>`;

class Stage {
  constructor(parent) {
    this.parent = parent;
    this.scene = null;
    this.frame = null;
    this.photos = null;
    this.steps = [];
    this.step = null; // { kind, index }
    this.hover = this.pinned = this.cursor = this.arrow = this.term = null;
    this.overlay = "blocks";
    this.strengths = keptStrengths();
    this.bare = this.helping = this.inside = this.dragging = false;
    this.progress = null; // 0 to 1 while the moves play
    this.count = 0;
    this.committed = {};
    this.timers = {};
    this.wanted = null;
    this.ghosts = [];
    this.notice = 0;
    this.px = 0;
    this.dirty = new Set();
    this.build();
  }

  // ---- life

  build() {
    const root = (this.root = document.createElement("div"));
    root.className = "mx waiting";
    root.dataset.ready = "false";
    root.innerHTML = HTML;
    if ("adoptedStyleSheets" in this.parent) this.parent.adoptedStyleSheets = [hub.sheet];
    this.parent.append(root);
    const one = (this.$ = (selector) => root.querySelector(selector));
    this.panel = Object.fromEntries(
      PANELS.map((name) => {
        const figure = one(`[data-p="${name}"]`);
        return [name, { figure, caption: figure.querySelector("figcaption"), box: figure.querySelector(".cv"), base: figure.querySelector(".base"), top: figure.querySelector(".top"), under: figure.querySelector(".under") }];
      }),
    );
    for (const q of ["A", "B"]) {
      for (const p of ["", "s", "m"]) this.panel[p + q].caption.innerHTML = `${tag(q)}<span class="t"></span>`;
    }
    this.panel.z.caption.innerHTML = '<span>z, share of B</span><span class="r"></span>';
    this.panel.mix.caption.innerHTML = "<span>the new picture</span>";
    const line = '<div class="ln">' + tag("A") + '<span></span><span class="gap"></span>' + tag("B") + "<span></span></div><div></div>";
    for (const name of ["z", "mix"]) this.panel[name].under.innerHTML = line;
    this.cells = Object.fromEntries(FORMULAS.map(([name]) => [name, one(`.eq [data-term="${name}"]`)]));
    this.crops = [...root.querySelectorAll(".crops canvas")];
    this.buildBand();
    this.listen();
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(this.panel.A.box);
    this.observer.observe(one(".plot"));
  }

  close() {
    this.observer.disconnect();
    this.stop.abort();
    cancelAnimationFrame(this.request);
    for (const timer of Object.values(this.timers)) clearTimeout(timer);
    clearInterval(this.walking);
    this.root.remove();
  }

  measure() {
    const density = window.devicePixelRatio || 1;
    const px = Math.max(1, Math.round(this.panel.A.box.clientWidth * density));
    const crop = Math.max(1, Math.round(this.crops[0].clientWidth * density));
    const plot = this.$(".plot").clientWidth;
    if (px !== this.px || crop !== this.cropPx) {
      this.px = px;
      this.cropPx = crop;
      this.density = density;
      this.invalidate("scene", "frame");
    }
    if (plot !== this.plot) {
      this.plot = plot;
      this.invalidate("frame", "threads");
    }
  }

  // ---- what comes from the server

  update(mount) {
    this.mount = mount;
    this.readTheme();
    if (hub.seen.get(this.parent) !== mount.data) {
      hub.seen.set(this.parent, mount.data);
      this.receive(mount.data);
    }
  }

  readTheme() {
    const style = getComputedStyle(this.root);
    const probe = makeCanvas(1).getContext("2d");
    probe.fillStyle = style.getPropertyValue("--st-background-color").trim() || "#fff";
    probe.fillRect(0, 0, 1, 1);
    const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
    const theme = 0.299 * r + 0.587 * g + 0.114 * b < 128 ? "dark" : "light";
    if (theme !== this.root.dataset.theme) {
      this.root.dataset.theme = theme;
      this.mat = hex(theme === "dark" ? "#1A1D24" : "#F3F4F6");
      this.invalidate("scene", "frame", "threads");
    }
    this.font = style.fontFamily;
  }

  receive(bytes) {
    const [header, buffer] = unpack(bytes);
    const scene = readScene(header.scene, buffer);
    const frame = readFrame(header.frame, scene.grid, scene.levels, buffer);
    const steps = header.steps.map((s) => readSteps(s, scene.grid, buffer));
    framesOf(scene.key).set(slot(frame.lam), frame);
    this.next = { scene, frame, steps, header };
    this.adopt();
  }

  picturesCame() {
    if (this.next) this.adopt();
  }

  framesCame(key) {
    if (!this.scene || key !== this.scene.key) return;
    // The value the visitor waits for, or rests on, has just come.
    const frame = this.wanted !== null && this.known().get(slot(this.wanted / LAST));
    if (frame) {
      this.wanted = null;
      this.look(frame);
    }
    this.invalidate("threads");
  }

  /** Takes the newest scene once its pictures are there; until then the old one stays. */
  adopt() {
    const { scene, frame, steps, header } = this.next;
    const digests = [...scene.pictures, ...scene.saliency].map((p) => p.digest);
    const found = digests.map(picture);
    if (found.includes(null)) return;
    this.next = null;
    const [a, b, sa, sb] = found;
    const first = !this.scene;
    const drawn = this.overlay;
    const changed = scene.key !== this.scene?.key;
    if (changed && this.scene) this.ghosts = this.threads();
    const repainted = this.digests !== digests.join();
    if (repainted) {
      this.digests = digests.join();
      this.photos = [a, b.size === a.size ? b : toPicture(b.canvas, a.size)];
      this.maps = [sa, sb];
      this.flat = new ImageData(a.size, a.size);
      this.out = new Uint32Array(this.flat.data.buffer);
      this.scratch = [makeCanvas(a.size), makeCanvas(a.size)];
    }
    const resized = scene.grid !== this.scene?.grid;
    this.scene = scene;
    if (header.seen > this.count) this.count = header.seen;
    const answered = first || (header.seen >= this.count && !this.busy);
    if (changed) {
      this.hover = this.arrow = null;
      if (resized) this.pinned = this.cursor = null;
    }
    this.steps = steps;
    this.stepsAt = slot(frame.lam);
    if (answered) {
      // What the page does not name stays as it is here, or as it was left before this mount.
      const named = (name) => header[name] ?? (first ? header.own[name] : undefined);
      const [block, step, overlay] = ["block", "step", "overlay"].map(named);
      this.wanted = null;
      this.look(frame);
      this.committed.lam = frame.lam;
      if (block !== undefined) {
        this.pinned = this.toBlock(block);
        this.committed.block = block;
      }
      if (step !== undefined) {
        const walk = steps.find((s) => s.kind === step?.[0]);
        this.step = walk ? { kind: walk.kind, index: Math.min(step[1], walk.captions.length - 1) } : null;
        this.committed.step = step;
      }
      if (overlay !== undefined) this.committed.overlay = this.overlay = overlay ?? "blocks";
    } else {
      const own = this.known().get(slot(this.frame.lam));
      if (!own) this.wanted ??= Math.round(this.frame.lam * LAST);
      this.look(own ?? frame);
    }
    if (this.step && !(this.step.index < (this.walk(this.step.kind)?.captions.length ?? 0))) {
      this.step = null;
      this.commit("step", () => null, COMMIT_MS);
    }
    this.notice = 0;
    this.invalidate("frame", "threads");
    if (changed || repainted || this.overlay !== drawn) this.invalidate("scene");
  }

  toBlock(place) {
    const n = this.scene.grid;
    return place && place[0] < n && place[1] < n ? place[0] * n + place[1] : null;
  }

  get busy() {
    return this.dragging || "lam" in this.timers || "step" in this.timers;
  }

  // ---- lambda

  /** Whether the method never looks at lambda, so that there is nothing to scrub. */
  get idle() {
    return this.scene.contract === "independent";
  }

  known() {
    return framesOf(this.scene.key);
  }

  /** Indices i whose lambda i / 50 can be drawn now, ascending. */
  indices() {
    const known = this.known();
    const found = [];
    for (let i = 0; i <= LAST; i++) if (known.has(slot(i / LAST))) found.push(i);
    return found;
  }

  threads() {
    const known = this.known();
    const found = [...this.ghosts];
    for (let i = 0; i <= LAST; i++) {
      const frame = known.get(slot(i / LAST));
      if (frame) found[i] = frame.weight;
    }
    return found;
  }

  /** Shows `frame`; steps belong to one lambda and end when it is left. */
  look(frame) {
    if (this.frame === frame) return;
    if (this.step && (slot(frame.lam) !== this.stepsAt || this.frame?.lam !== frame.lam)) {
      this.step = null;
      this.commit("step", () => null, COMMIT_MS);
    }
    this.frame = frame;
    this.notice = 0;
    this.arrow = null;
    this.halt();
    this.invalidate("frame");
  }

  /** Moves to the value nearest to `index` that is known; `way` keeps keys from turning back. */
  scrub(index, way = 0) {
    if (this.idle) return;
    index = Math.max(0, Math.min(LAST, index));
    const here = this.frame.lam * LAST;
    const ahead = this.indices().filter((i) => (way > 0 ? i > here + 1e-6 : way < 0 ? i < here - 1e-6 : true));
    const near = ahead.reduce((best, i) => (best === null || Math.abs(i - index) < Math.abs(best - index) ? i : best), null);
    if (near !== null) this.look(this.known().get(slot(near / LAST)));
    // Asked for a value not there yet and nothing nearer to show: the server is asked for it.
    const stuck = near === null || Math.abs(near - here) < 1e-6;
    this.wanted = near !== index && (stuck || this.dragging) ? index : null;
    this.asksServer = stuck && Math.abs(index - here) > 1e-6;
    this.invalidate("frame");
    this.commit("lam", () => (this.asksServer && this.wanted !== null ? this.wanted / LAST : this.frame.lam), COMMIT_MS);
  }

  /** Sends a state once it has rested, and only if it changed. */
  commit(name, value, wait = 0) {
    clearTimeout(this.timers[name]);
    this.timers[name] = setTimeout(() => {
      delete this.timers[name];
      const now = value();
      if (JSON.stringify(now) === JSON.stringify(this.committed[name] ?? null)) return;
      this.committed[name] = now;
      this.count += 1;
      this.mount.setStateValue(name, { value: now, count: this.count });
      this.announce();
    }, wait);
  }

  // ---- what is shown: the frame, or one step of an algorithm

  get shown() {
    const { frame, scene, step } = this;
    if (this.cache?.frame === frame && this.cache.scene === scene && this.cache.step === step && this.cache.steps === this.steps) return this.cache;
    const n2 = scene.grid * scene.grid;
    const still = () => Uint16Array.from({ length: n2 }, (_, i) => i);
    const view = { frame, scene, step, steps: this.steps, labels: frame.labels, source: frame.source, moved: frame.moved, weight: frame.weight, terms: frame.terms };
    if (step?.kind === "swap") {
      view.labels = this.walk("swap").states[step.index];
      view.source = [still(), still()];
      view.moved = scene.blocks;
      view.weight = view.labels.reduce((a, b) => a + b, 0) / (n2 * scene.levels);
      view.terms = this.termsAt(view, this.walk("swap").objective[step.index]);
    } else if (step) {
      view.source = [0, 1].map((q) => {
        const walk = this.walk(`rounds_${q}`);
        return walk ? walk.states[Math.min(step.index, walk.states.length - 1)] : frame.source[q];
      });
      view.moved = view.source.map((source, q) => Float32Array.from(source, (i) => (i < 0 ? 0 : scene.blocks[q][i])));
      view.terms = null;
    }
    view.moves = [0, 1].map((q) => this.movesOf(view, q));
    view.counts = [0, 0, 0];
    for (const t of view.labels) view.counts[t === 0 ? 0 : t === scene.levels ? 2 : 1]++;
    this.cache = view;
    view.closest = this.closestCall(view);
    return view;
  }

  walk(kind) {
    return this.steps.find((s) => s.kind === kind);
  }

  /** The terms of a mask before anything moved; the seams are what the objective leaves over. */
  termsAt(view, total) {
    const { grid, levels, blocks, units } = this.scene;
    const terms = { saliency_0: 0, saliency_1: 0, label_smooth: 0, data_smooth: 0, prior: 0, transport: 0, total };
    view.labels.forEach((t, i) => {
      const z = t / levels;
      terms.saliency_0 += z * blocks[0][i];
      terms.saliency_1 += (1 - z) * blocks[1][i];
      terms.prior += this.frame.prior[t];
      if ((i + 1) % grid) terms.label_smooth += units.beta_E * (z - view.labels[i + 1] / levels) ** 2;
      if (i + grid < grid * grid) terms.label_smooth += units.beta_E * (z - view.labels[i + grid] / levels) ** 2;
    });
    terms.data_smooth = total - TERMS.reduce((sum, name) => sum + terms[name], 0);
    return terms;
  }

  /** Blocks that moved and are seen: { from, to, gain, cost }, best first. */
  movesOf(view, q) {
    const { grid, levels, blocks, units } = this.scene;
    const far = Math.max(1, (grid - 1) ** 2);
    const moves = [];
    view.source[q].forEach((from, to) => {
      const z = view.labels[to] / levels;
      const share = q ? z : 1 - z;
      if (from < 0 || from === to || share <= 0) return;
      const dr = Math.floor(from / grid) - Math.floor(to / grid);
      const dc = (from % grid) - (to % grid);
      moves.push({ from, to, q, gain: (blocks[q][from] - blocks[q][to]) * share, cost: (units.xi * (dr * dr + dc * dc)) / far });
    });
    return moves.sort((a, b) => b.gain - a.gain);
  }

  neighbours(b) {
    const n = this.scene.grid;
    const found = [];
    if (b % n) found.push(b - 1);
    if ((b + 1) % n) found.push(b + 1);
    if (b >= n) found.push(b - n);
    if (b + n < n * n) found.push(b + n);
    return found;
  }

  /** What each label would cost block b: saliency hidden, beta, gamma, eta and their sum. */
  costs(b, view = this.shown) {
    const { levels, units } = this.scene;
    const stepping = this.step?.kind === "swap";
    return Array.from({ length: levels + 1 }, (_, t) => {
      const z = t / levels;
      const hidden = z * view.moved[0][b] + (1 - z) * view.moved[1][b];
      const beta = stepping
        ? this.neighbours(b).reduce((sum, j) => sum + units.beta_E * (z - view.labels[j] / levels) ** 2, 0)
        : this.frame.label[b * (levels + 1) + t];
      const gamma = stepping ? NaN : this.frame.data[b * (levels + 1) + t];
      const eta = this.frame.prior[t];
      return { hidden, beta, gamma, eta, sum: hidden + beta + gamma + eta };
    });
  }

  closestCall(view) {
    let best = null;
    let least = Infinity;
    let brightest = 0;
    for (let b = 0; b < view.labels.length; b++) {
      if (view.moved[0][b] + view.moved[1][b] > view.moved[0][brightest] + view.moved[1][brightest]) brightest = b;
      if (this.step?.kind === "swap") continue;
      const costs = this.costs(b, view);
      for (let t = 0; t < costs.length; t++) {
        const change = costs[t].sum - costs[view.labels[b]].sum;
        if (t !== view.labels[b] && change < least) [least, best] = [change, b];
      }
    }
    return { block: best ?? brightest, known: best !== null };
  }

  get block() {
    return this.hover ?? this.pinned ?? this.cursor ?? this.shown.closest.block;
  }

  // ---- drawing

  invalidate(...parts) {
    for (const part of parts) this.dirty.add(part);
    this.request ??= requestAnimationFrame(() => this.flush());
  }

  flush() {
    this.request = null;
    if (!this.scene || !this.px) return;
    const began = performance.now();
    const { dirty } = this;
    this.dirty = new Set();
    const frame = dirty.has("frame") || dirty.has("scene");
    if (dirty.has("scene")) this.drawScene();
    else if (dirty.has("saliency")) this.drawMaps();
    if (frame) this.drawFrame();
    else if (dirty.has("moves")) this.drawMoved();
    if (dirty.has("threads")) this.drawThreads();
    if (frame || dirty.has("threads")) this.drawLambda();
    if (frame || dirty.has("moves") || dirty.has("focus")) this.drawFocus();
    this.label();
    const spent = performance.now() - began;
    this.root.dataset.drawMs = spent.toFixed(2);
    hub.draws.push(spent);
    if (hub.draws.length > 1000) hub.draws.shift();
  }

  /** A canvas of the panel's own pixels, cleared. */
  sheet(canvas, px = this.px) {
    if (canvas.width !== px) canvas.width = canvas.height = px;
    const context = canvas.getContext("2d");
    context.setLineDash([]);
    context.globalAlpha = 1;
    context.clearRect(0, 0, px, px);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    return context;
  }

  photo(name, q) {
    this.sheet(this.panel[name].base).drawImage(this.photos[q].canvas, 0, 0, this.px, this.px);
  }

  drawScene() {
    const { scene } = this;
    for (const [q, letter] of [[0, "A"], [1, "B"]]) {
      this.photo(letter, q);
      const title = this.panel[letter].caption.querySelector(".t");
      title.textContent = title.title = scene.pictures[q].name;
    }
    this.drawMaps();
    for (const button of this.root.querySelectorAll("[data-overlay]")) {
      button.setAttribute("aria-pressed", String(button.dataset.overlay === this.overlay));
    }
    const foot = this.$(".scale, .keys2");
    const peak = this.hottest;
    const scale = (low, high, fill) => `<div class="scale"><span>${low}</span><span class="ramp" style="background:${fill}"></span><span>${high}</span></div>`;
    const swatch = (dash) => `<svg viewBox="0 0 20 8"><path d="M0 4H20" stroke="currentColor" stroke-width="2" stroke-dasharray="${dash}"/></svg>`;
    foot.outerHTML = {
      blocks: scale("0", percent(scene.top), MAGMA_CSS),
      heat: scale("0", `${peak.toFixed(peak < 10 ? 1 : 0)}× mean`, MAGMA_CSS),
      contour: `<div class="keys2" title="Lines enclose half and four fifths of the blurred saliency"><span>${swatch("none")}half</span><span>${swatch("4 3")}80\u2009%</span></div>`,
      spotlight: scale("dark", "salient", "linear-gradient(90deg,#000,#fff)"),
    }[this.overlay];
    this.panel.z.caption.lastChild.textContent = scene.solver;
    this.panel.z.caption.title = `solver: ${scene.solver}`;
    this.$(".badge").innerHTML = `${CONTRACT[scene.contract] ?? ""} ${escape(scene.contract_words).replace(/[βγηξ]/g, "<i>$&</i>")}`;
    for (const [name, unit] of Object.entries(UNIT_OF)) {
      this.cells[name].title = `${LETTER[unit]}${unit === "xi" ? "" : " in these units"} = ${Number(scene.units[unit].toPrecision(4))}`;
    }
    this.$(".grab").setAttribute("aria-disabled", String(this.idle));
    this.$(".band").classList.toggle("idle", this.idle);
    this.drawCardFrame();
  }

  /** Both saliency panels and the slider of their strength; blocks are a chart and always whole. */
  drawMaps() {
    this.drawSaliency("sA", 0);
    this.drawSaliency("sB", 1);
    const slider = this.$(".strength input");
    const percents = this.strengths[this.overlay];
    slider.disabled = percents === undefined;
    slider.value = percents ?? 100;
    slider.style.setProperty("--at", `${percents ?? 100}%`);
    slider.setAttribute("aria-valuetext", `${slider.value} percent`);
    slider.parentElement.title = slider.disabled ? "" : `Strength of the overlay, ${slider.value}\u2009%`;
  }

  /** The larger peak of the two drawn maps, in times a map's mean: where the heat's scale ends. */
  get hottest() {
    return Math.max(...this.maps.map((map, q) => softMap(map).top * this.scene.saliency[q].peak));
  }

  /** Share of an overlay in what is drawn, 0 to 1. */
  get alpha() {
    return (this.strengths[this.overlay] ?? 100) / 100;
  }

  drawSaliency(name, q) {
    const { scene, px, density, alpha } = this;
    if (this.bare) return this.photo(name, q);
    const context = this.sheet(this.panel[name].base);
    if (this.overlay === "blocks") {
      for (let b = 0; b < scene.grid ** 2; b++) {
        context.fillStyle = rgb(ramp(MAGMA, scene.blocks[q][b] / scene.top));
        context.fillRect(...cell(px, scene.grid, b));
      }
      return;
    }
    context.drawImage(this.photos[q].canvas, 0, 0, px, px);
    const soft = softMap(this.maps[q]);
    if (this.overlay === "heat") {
      const share = scene.saliency[q].peak / Math.max(1e-12, this.hottest);
      context.globalAlpha = alpha;
      context.drawImage(tinted(soft, (v) => [...ramp(MAGMA, v * share), 255]), 0, 0, px, px);
      context.globalAlpha = 1;
    } else if (this.overlay === "spotlight") {
      context.drawImage(tinted(soft, (v) => [0, 0, 0, 255 * alpha * (1 - Math.min(1, Math.sqrt(v / (soft.bright || 1))))]), 0, 0, px, px);
    } else {
      const lines = this.sheet(makeCanvas(px));
      lines.lineJoin = lines.lineCap = "round";
      for (const [level, dash, wide] of [[soft.most, [5, 4], 1.2], [soft.half, [], 1.8]]) {
        const path = levelLines(soft, level, px);
        lines.setLineDash([]);
        lines.strokeStyle = "#000";
        lines.lineWidth = (wide + 1.8) * density;
        lines.stroke(path);
        lines.setLineDash(dash.map((v) => v * density));
        lines.strokeStyle = "#fff";
        lines.lineWidth = wide * density;
        lines.stroke(path);
      }
      // The lines fade as one, or their dark edge would show through the white.
      context.globalAlpha = alpha;
      context.drawImage(lines.canvas, 0, 0);
      context.globalAlpha = 1;
    }
  }

  drawFrame() {
    const view = this.shown;
    const { frame } = this;
    this.drawMask(view);
    this.drawMoved();
    this.drawMix(view);
    const [a, shared, b] = view.counts;
    const under = (name) => this.panel[name].under.querySelectorAll(":scope > .ln > span:not(.tag):not(.gap)");
    const [za, zb] = under("z");
    za.textContent = a;
    zb.textContent = b;
    const swap = this.step?.kind === "swap" ? this.step : null;
    this.panel.z.under.lastChild.textContent = `${shared} shared`;
    this.panel.z.caption.firstChild.textContent = swap ? `move ${swap.index + 1} of ${this.walk("swap").captions.length}` : "z, share of B";
    const [ma, mb] = under("mix");
    ma.textContent = percent(1 - view.weight, 0);
    mb.textContent = percent(view.weight, 0);
    ma.className = "At";
    mb.className = "Bt";
    this.panel.mix.under.lastChild.textContent = swap ? "label so far" : "label given";
    const hidden = view.terms ?? frame.terms;
    for (const [q, letter] of [[0, "A"], [1, "B"]]) {
      this.panel[`s${letter}`].caption.lastChild.textContent = `${percent(1 - hidden[`saliency_${q}`])} kept`;
      const rounds = this.step && !swap ? this.walk(`rounds_${q}`) : null;
      this.panel[`m${letter}`].caption.lastChild.textContent = rounds
        ? `round ${Math.min(this.step.index, rounds.captions.length - 1) + 1} of ${rounds.captions.length}`
        : swap ? "not moved yet" : `${plural(view.moves[q].length, "block")} moved`;
    }
    this.drawSteppers();
    this.drawStatus();
    const texts = view.terms ? addUp(TERMS.map((name) => view.terms[name]), view.terms.total) : TERMS.map(() => "·");
    TERMS.forEach((name, i) => (this.cells[name].lastChild.textContent = texts[i]));
    this.cells.total.lastChild.textContent = view.terms ? minus(view.terms.total.toFixed(4)) : "·";
    const gauge = (name, v) => {
      const row = this.$(`[data-g="${name}"]`);
      row.querySelector(".a").style.width = `${100 * (1 - v)}%`;
      row.querySelector(".b").style.width = `${100 * v}%`;
      row.querySelector(".At").textContent = `A ${(1 - v).toFixed(3)}`;
      row.querySelector(".Bt").textContent = `B ${v.toFixed(3)}`;
    };
    gauge("asked", frame.lam);
    gauge("given", view.weight);
    const gap = view.weight - frame.lam;
    this.$(".note").textContent = `B gets ${Math.abs(gap) < 5e-4 ? "what was asked" : `${Math.abs(gap).toFixed(3)} ${gap < 0 ? "less" : "more"}`} · sum 1.000`;
  }

  drawMask(view) {
    const { scene, px, density } = this;
    const context = this.sheet(this.panel.z.base);
    const side = px / scene.grid;
    const printed = scene.grid <= 8 && side / density >= 15;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = `600 ${14 * density}px ${this.font}`;
    const texts = Array.from({ length: scene.levels + 1 }, (_, t) => fraction(t, scene.levels));
    const fills = texts.map((_, t) => rgb(ramp(MIX, t / scene.levels)));
    view.labels.forEach((t, b) => {
      const [x, y, w, h] = cell(px, scene.grid, b);
      const z = t / scene.levels;
      context.fillStyle = fills[t];
      context.fillRect(x, y, w, h);
      const [cx, cy] = [x + w / 2, y + h / 2];
      if (printed) {
        context.fillStyle = z < 0.25 ? "#fff" : "#14110e";
        context.fillText(texts[t], cx, cy + density * 0.5);
      } else if (z > 0.75) {
        const dot = Math.max(2, w * 0.22);
        context.fillStyle = "#14110eb0";
        context.fillRect(cx - dot / 2, cy - dot / 2, dot, dot);
      } else if (z < 0.25) {
        context.strokeStyle = "#ffffff90";
        context.lineWidth = density;
        context.beginPath();
        context.moveTo(cx - w * 0.18, cy + w * 0.18);
        context.lineTo(cx + w * 0.18, cy - w * 0.18);
        context.stroke();
      }
    });
  }

  /** Paints lane q with blocks from `source` onto a scratch canvas of the photograph's size. */
  layLane(view, q, source, faded) {
    const { scene, photos, out, mat } = this;
    const { size, words } = photos[q];
    for (let j = 0; j < source.length; j++) {
      const z = view.labels[j] / scene.levels;
      const seen = (q ? z : 1 - z) > 0;
      layBlock(out, words, size, scene.grid, source[j], j, seen ? 1 : faded, mat);
    }
    this.scratch[q].getContext("2d").putImageData(this.flat, 0, 0);
    return this.scratch[q];
  }

  drawMoved() {
    const view = this.shown;
    const { px, scene, progress } = this;
    const still = Uint16Array.from(view.labels, (_, i) => i);
    const calm = this.reduced.matches;
    for (const [q, letter] of [[0, "A"], [1, "B"]]) {
      if (this.bare) {
        this.photo(`m${letter}`, q);
        continue;
      }
      const context = this.sheet(this.panel[`m${letter}`].base);
      if (progress === null || calm) context.drawImage(this.layLane(view, q, view.source[q], 0.2), 0, 0, px, px);
      if (progress === null) continue;
      const t = progress < 0.5 ? 2 * progress ** 2 : 1 - 2 * (1 - progress) ** 2;
      if (calm) {
        context.globalAlpha = 1 - t;
        context.drawImage(this.layLane(view, q, still, 0.2), 0, 0, px, px);
        context.globalAlpha = 1;
        continue;
      }
      const staying = Int16Array.from(view.source[q], (from, to) => (from === to ? to : -1));
      context.drawImage(this.layLane(view, q, staying, 0.2), 0, 0, px, px);
      const { canvas, size } = this.photos[q];
      for (const { from, to } of [...view.moves[q]].reverse()) {
        const [x0, y0] = cell(px, scene.grid, from);
        const [x1, y1, w, h] = cell(px, scene.grid, to);
        context.drawImage(canvas, ...cell(size, scene.grid, from), x0 + (x1 - x0) * t, y0 + (y1 - y0) * t, w, h);
      }
    }
  }

  drawMix(view) {
    const { scene, photos, out, flat, mat, progress } = this;
    const { size } = photos[0];
    const canvas = this.panel.mix.base;
    if (canvas.width !== size) canvas.width = canvas.height = size;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const paint = (source) => {
      mixInto(out, photos[0].words, photos[1].words, size, scene.grid, source, view.labels, scene.levels, mat);
      return flat;
    };
    context.putImageData(paint(view.source), 0, 0);
    if (progress !== null && progress < 1) {
      const still = Uint16Array.from(view.labels, (_, i) => i);
      this.scratch[0].getContext("2d").putImageData(paint([still, still]), 0, 0);
      context.globalAlpha = 1 - progress;
      context.drawImage(this.scratch[0], 0, 0);
      context.globalAlpha = 1;
    }
  }

  drawArrows(context, view, q) {
    const { density, scene } = this;
    const moves = view.moves[q];
    const most = Math.max(1e-9, ...moves.map((m) => m.gain));
    const focus = this.hover ?? this.pinned;
    let listed = moves.slice(0, scene.grid > 8 ? 24 : 16);
    const own = moves.filter((m) => m.from === focus || m.to === focus);
    if (this.arrow) listed = this.arrow.q === q ? [this.arrow] : [];
    else if (focus !== null && own.length) listed = own;
    for (const move of [...listed].reverse()) {
      const { x0, y0, mx, my, x1, y1 } = this.curve(move);
      const wide = (1.3 + 2.2 * Math.max(0, move.gain / most)) * density;
      const angle = Math.atan2(y1 - my, x1 - mx);
      const tip = 5 * density + wide;
      const [ex, ey] = [x1 - Math.cos(angle) * tip * 0.6, y1 - Math.sin(angle) * tip * 0.6];
      for (const [colour, halo] of [["#fff", 2.2 * density], [q ? "#D55E00" : "#0072B2", 0]]) {
        context.strokeStyle = context.fillStyle = colour;
        context.lineWidth = wide + halo;
        context.lineCap = context.lineJoin = "round";
        context.beginPath();
        context.moveTo(x0, y0);
        context.quadraticCurveTo(mx, my, ex, ey);
        context.stroke();
        context.beginPath();
        context.moveTo(x1, y1);
        context.lineTo(x1 - Math.cos(angle - 0.5) * tip, y1 - Math.sin(angle - 0.5) * tip);
        context.lineTo(x1 - Math.cos(angle + 0.5) * tip, y1 - Math.sin(angle + 0.5) * tip);
        context.closePath();
        if (halo) {
          context.lineWidth = halo;
          context.stroke();
        }
        context.fill();
      }
    }
  }

  /** The bent path of a move, in the panel's pixels. */
  curve({ from, to }) {
    const middle = (b) => {
      const [x, y, w, h] = cell(this.px, this.scene.grid, b);
      return [x + w / 2, y + h / 2];
    };
    const [x0, y0] = middle(from);
    const [x1, y1] = middle(to);
    return { x0, y0, x1, y1, mx: (x0 + x1) / 2 - (y1 - y0) * 0.18, my: (y0 + y1) / 2 + (x1 - x0) * 0.18 };
  }

  drawFocus() {
    const view = this.shown;
    const { block, px, density, scene } = this;
    const box = (context, b, dotted) => {
      const [x, y, w, h] = cell(px, scene.grid, b);
      const edge = 1.7 * density;
      const left = Math.max(edge, x);
      const top = Math.max(edge, y);
      const sides = [left, top, Math.min(px - edge, x + w) - left, Math.min(px - edge, y + h) - top];
      context.lineJoin = "miter";
      context.setLineDash([]);
      context.strokeStyle = "#000";
      context.lineWidth = (dotted ? 2 : 3.4) * density;
      context.strokeRect(...sides);
      context.strokeStyle = "#fff";
      context.lineWidth = 1.4 * density;
      if (dotted) context.setLineDash([3 * density, 3 * density]);
      context.strokeRect(...sides);
      context.setLineDash([]);
    };
    for (const name of PANELS) {
      const context = this.sheet(this.panel[name].top);
      const q = LANE[name];
      if (name[0] === "m" && q !== undefined && this.progress === null && !this.bare) this.drawArrows(context, view, q);
      box(context, block, false);
      const from = q === undefined || name[0] === "m" ? -1 : view.source[q][block];
      if (from >= 0 && from !== block) box(context, from, true);
    }
    this.drawCard(view, block);
    const focused = this.hover ?? this.pinned ?? this.cursor;
    const here = this.costs(block, view)[view.labels[block]];
    const z = view.labels[block] / scene.levels;
    const touched = {
      saliency_0: z * view.moved[0][block] > 0,
      saliency_1: (1 - z) * view.moved[1][block] > 0,
      label_smooth: here.beta > 0,
      data_smooth: Math.abs(here.gamma) > 0,
      prior: here.eta > 0,
      transport: [0, 1].some((side) => view.moves[side].some((m) => m.to === block)),
    };
    for (const name of TERMS) this.cells[name].classList.toggle("lit", focused !== null && touched[name]);
  }

  // ---- the card

  /** Columns of the cost table: every label, or five around the present one. */
  columns(t) {
    const { levels } = this.scene;
    if (levels <= 4) return Array.from({ length: levels + 1 }, (_, i) => i);
    const low = Math.max(1, Math.min(levels - 3, t - 1));
    return [0, low, low + 1, low + 2, levels];
  }

  drawCardFrame() {
    const { levels } = this.scene;
    const wide = Math.min(5, levels + 1);
    const many = wide > 3;
    const signature = `${wide}`;
    const table = this.$(".costs");
    if (table.dataset.columns === signature) return;
    table.dataset.columns = signature;
    table.classList.toggle("many", many);
    const cells = (kind) => `<${kind}></${kind}>`.repeat(wide);
    const rows = [["hidden", many ? "hidden" : "saliency hidden"], ["beta", many ? "<i>β</i>" : "<i>β</i> neighbours"], ["gamma", many ? "<i>γ</i>" : "<i>γ</i> seam"], ["eta", many ? "<i>η</i>" : "<i>η</i> far from λ"], ["sum", many ? "vs now" : "against now"]];
    this.$(".costs thead").innerHTML = `<tr><th scope="col">${many ? "×10⁻³ at z" : "cost × 10⁻³ if z is"}</th>${'<th class="n" scope="col"></th>'.repeat(wide)}</tr>`;
    this.$(".costs tbody").innerHTML = rows.map(([name, words]) => `<tr data-row="${name}" class="${name === "sum" ? "sum" : ""}"><th scope="row">${words}</th>${cells("td")}</tr>`).join("");
    this.heads = [...this.root.querySelectorAll(".costs thead th.n")];
    this.rows = Object.fromEntries(rows.map(([name]) => [name, [...this.root.querySelectorAll(`[data-row="${name}"] td`)]]));
  }

  drawCard(view, b) {
    const { scene, photos } = this;
    const now = view.labels[b];
    const costs = this.costs(b, view);
    const columns = this.columns(now);
    const [title, how] = this.$(".card h3").children;
    title.textContent = `Row ${Math.floor(b / scene.grid) + 1}, column ${(b % scene.grid) + 1}`;
    how.textContent = this.hover !== null ? (this.pinned === this.hover ? "click frees" : "click pins") : this.pinned !== null ? "pinned, Esc frees" : this.cursor !== null ? "Enter pins" : view.closest.known ? "the closest call" : "the most salient";
    columns.forEach((t, i) => {
      const on = t === now ? "on" : "";
      this.heads[i].textContent = fraction(t, scene.levels);
      this.heads[i].className = `n ${on}`;
      for (const name of ["hidden", "beta", "gamma", "eta", "sum"]) {
        const value = name === "sum" ? costs[t].sum - costs[now].sum : costs[t][name];
        const td = this.rows[name][i];
        td.className = on;
        td.textContent = Number.isNaN(value) ? "·" : name === "sum" ? (on ? "0" : signed(value)) : milli(value);
        td.title = value === Infinity ? "forbidden" : "";
      }
    });
    for (const name of ["hidden", "beta", "gamma", "eta"]) {
      const term = { hidden: ["saliency_0", "saliency_1"], beta: ["label_smooth"], gamma: ["data_smooth"], eta: ["prior"] }[name];
      this.$(`[data-row="${name}"]`).classList.toggle("hot", term.includes(this.term));
    }
    this.$(".words").innerHTML = this.wordsOn(view, b, costs);
    [0, 1].forEach((q) => (this.crops[q].nextSibling.lastChild.textContent = percent(view.moved[q][b])));
    this.crops.forEach((canvas, i) => {
      const context = this.sheet(canvas, this.cropPx);
      const lay = (q, alpha) => {
        const from = view.source[q][b];
        if (from < 0) return;
        context.globalAlpha = alpha;
        context.drawImage(photos[q].canvas, ...cell(photos[q].size, scene.grid, from), 0, 0, this.cropPx, this.cropPx);
      };
      lay(i === 1 ? 1 : 0, 1);
      if (i === 2) lay(1, now / scene.levels);
    });
  }

  wordsOn(view, b, costs) {
    const { scene } = this;
    const now = view.labels[b];
    const say = [];
    const others = costs.map((c, t) => [c.sum - costs[now].sum, t]).filter(([, t]) => t !== now);
    const [change, t] = others.reduce((best, one) => (one[0] < best[0] ? one : best), [Infinity, null]);
    const banned = others.filter(([, o]) => costs[o].eta === Infinity).map(([, o]) => fraction(o, scene.levels));
    if (t !== null && Number.isFinite(change)) {
      const to = `Flipping z here to <b>${fraction(t, scene.levels)}</b>`;
      say.push(change >= -5e-5 ? `${to} costs <b>${signed(change)}</b>.` : `${to} would save <b>${milli(-change)}</b> (blocks moved since).`);
    }
    if (banned.length) say.push(`At λ = ${Number(this.frame.lam.toFixed(3))} ${banned.length > 2 ? "every other label" : banned.join(" and ")} ${banned.length === 1 || banned.length > 2 ? "is" : "are"} forbidden.`);
    const near = this.neighbours(b);
    const same = near.filter((j) => view.labels[j] === now).length;
    if (near.length) say.push(`${same === near.length ? `All ${near.length} neighbours show` : `${NUMBERS[same]} of its ${near.length} neighbours ${same === 1 ? "shows" : "show"}`} the same.`);
    const from = [0, 1].map((q) => {
      const i = view.source[q][b];
      if (i < 0) return "waits for a block";
      if (i === b) return "stays put";
      const move = view.moves[q].find((m) => m.to === b);
      const where = `comes from row ${Math.floor(i / scene.grid) + 1}, column ${(i % scene.grid) + 1}`;
      return `${where} ${move ? `(gains ${milli(move.gain)}, costs ${milli(move.cost)})` : "(not seen)"}`;
    });
    say.push(from[0] === "stays put" && from[1] === "stays put" ? "A and B stay put." : `A ${from[0]}; B ${from[1]}.`);
    return say.join(" ");
  }

  // ---- status, steps, lambda

  drawStatus() {
    const { frame, step } = this;
    const line = this.$(".say");
    const [lead, words, fix, more] = line.children;
    const notice = frame.notices[this.notice % Math.max(1, frame.notices.length)];
    line.className = `say ${step ? "step" : notice ? "notice" : ""}`;
    lead.textContent = step ? `${step.kind === "swap" ? "Swap move" : "Round"} ${step.index + 1} of ${this.walk(step.kind).captions.length}` : notice ? "▲ Notice" : "";
    lead.hidden = !lead.textContent;
    if (step) {
      const walk = this.walk(step.kind);
      words.textContent = `${walk.captions[step.index]} Objective ${minus(walk.objective[step.index].toFixed(4))}.`;
    } else words.textContent = notice ? (notice[2] ? notice[0] : `${notice[0]} ${notice[1]}`) : frame.status;
    words.title = words.textContent;
    fix.hidden = Boolean(step) || !notice?.[2];
    fix.textContent = notice?.[1] ?? "";
    fix.dataset.action = notice?.[2] ?? "";
    more.hidden = Boolean(step) || frame.notices.length < 2;
    more.textContent = `${(this.notice % Math.max(1, frame.notices.length)) + 1} of ${frame.notices.length}`;
  }

  drawSteppers() {
    const here = slot(this.frame.lam) === this.stepsAt;
    const swap = here ? this.walk("swap") : null;
    const rounds = here ? [this.walk("rounds_0"), this.walk("rounds_1")].filter(Boolean) : [];
    const set = (id, length, index) => {
      for (const part of ["prev", "play", "next"]) {
        const button = this.$(`[data-do="${id}-${part}"]`);
        if (button) button.disabled = !length || (part === "prev" && index === null) || (part === "next" && index === length - 1);
      }
    };
    set("swap", swap?.captions.length ?? 0, this.step?.kind === "swap" ? this.step.index : null);
    const longest = Math.max(0, ...rounds.map((r) => r.captions.length));
    const play = this.$('[data-do="play"]');
    const foot = play.parentElement;
    const stepping = Boolean(this.$('[data-do="rounds-prev"]'));
    if (Boolean(longest) !== stepping) {
      for (const old of foot.querySelectorAll(".sq")) old.remove();
      if (longest) {
        const button = (part, sign) => `<button class="btn sq" data-do="rounds-${part}" aria-label="${part === "prev" ? "previous" : "next"} round of the transport">${sign}</button>`;
        play.insertAdjacentHTML("beforebegin", button("prev", "‹"));
        play.insertAdjacentHTML("afterend", button("next", "›"));
      }
      play.innerHTML = longest ? `${PLAY}<kbd class="opt wide">Space</kbd>` : `${PLAY}Play <kbd class="opt">Space</kbd>`;
      play.setAttribute("aria-label", "play the moves");
    }
    set("rounds", longest, this.step && this.step.kind !== "swap" ? this.step.index : null);
    const walking = this.walking ? "true" : "false";
    this.$('[data-do="swap-play"]').setAttribute("aria-pressed", walking);
  }

  /** Goes to a step; past either end is the result itself. */
  goStep(kind, index) {
    const length = this.walk(kind)?.captions.length ?? 0;
    this.step = index < 0 || index >= length ? null : { kind, index };
    this.halt(this.walking);
    this.invalidate("frame");
    this.commit("step", () => (this.step ? [this.step.kind, this.step.index] : null), COMMIT_MS);
  }

  stepBy(id, by) {
    const kinds = id === "swap" ? ["swap"] : ["rounds_0", "rounds_1"].filter((k) => this.walk(k));
    const kind = kinds.sort((p, q) => this.walk(q).captions.length - this.walk(p).captions.length)[0];
    if (!kind || slot(this.frame.lam) !== this.stepsAt) return;
    const mine = this.step && (this.step.kind === kind || (id === "rounds" && this.step.kind !== "swap"));
    this.goStep(kind, mine ? this.step.index + by : by > 0 ? 0 : -1);
  }

  walkAll(id) {
    if (this.walking) {
      clearInterval(this.walking);
      this.walking = null;
      return this.invalidate("frame");
    }
    this.step = null;
    this.walking = setInterval(() => {
      this.stepBy(id, 1);
      if (!this.step) {
        clearInterval(this.walking);
        this.walking = null;
      }
    }, PLAY_MS);
    this.stepBy(id, 1);
  }

  /** Plays the moves from the untouched pictures to where the blocks land. */
  play() {
    if (!this.scene || this.progress !== null) return;
    const began = performance.now();
    const tick = (now) => {
      this.progress = Math.max(0, Math.min(1, (now - began) / PLAY_MS));
      if (this.progress >= 1) this.progress = null;
      this.drawMoved();
      this.drawMix(this.shown);
      this.drawFocus();
      this.label();
      this.playing = this.progress === null ? null : requestAnimationFrame(tick);
    };
    this.playing = requestAnimationFrame(tick);
  }

  halt(keepWalking = false) {
    cancelAnimationFrame(this.playing);
    if (this.progress !== null) this.invalidate("frame");
    this.progress = this.playing = null;
    if (!keepWalking && this.walking) {
      clearInterval(this.walking);
      this.walking = null;
    }
  }

  buildBand() {
    const svg = this.$(".plot svg");
    const add = (name, kind, parent = svg) => {
      const node = document.createElementNS(SVG, name);
      if (kind) node.setAttribute("class", kind);
      parent.append(node);
      return node;
    };
    this.lines = {};
    for (const [key, name, kind] of [["ghosts", "path", "ghosts"], ["threads", "path", "threads"], ["unknown", "path", "rail unknown"], ["known", "path", "rail known"], ["dots", "path", "dots"], ["base", "path", "rail unknown"], ["asked", "path", "asked"], ["off", "path", "off"], ["lean", "path", "lean"], ["diamond", "path", "diamond"], ["wish", "circle", "wish"], ["ring", "circle", "ring"], ["knob", "circle", "knob"]]) {
      this.lines[key] = add(name, kind);
    }
    this.lines.wish.setAttribute("r", 7);
    this.lines.ring.setAttribute("r", 13);
    this.lines.knob.setAttribute("r", 9);
    this.lines.knob.classList.add("hd");
    this.marks = add("g");
  }

  get ends() {
    return { left: 76, right: Math.max(120, this.plot - 34), top: 14, bottom: 68 };
  }

  drawThreads() {
    const { left, right, top, bottom } = this.ends;
    const x = (v) => (left + v * (right - left)).toFixed(1);
    const known = this.known();
    const paths = { threads: "", ghosts: "", known: "", unknown: "", dots: "" };
    for (let i = 0; i <= LAST; i++) {
      const frame = known.get(slot(i / LAST));
      const line = (weight) => `M${x(i / LAST)} ${top}L${x(weight)} ${bottom}`;
      const piece = `M${x(Math.max(0, (i - 0.5) / LAST))} ${top}H${x(Math.min(1, (i + 0.5) / LAST))}`;
      if (frame) {
        paths.threads += line(frame.weight);
        paths.known += piece;
      } else {
        if (this.ghosts[i] !== undefined) paths.ghosts += line(this.ghosts[i]);
        paths.unknown += piece;
        if (i % 2 === 0) paths.dots += `M${x(i / LAST)} ${top - 2}a2 2 0 1 0 .01 0Z`;
      }
    }
    for (const [name, d] of Object.entries(paths)) this.lines[name].setAttribute("d", d);
    const ticks = [0, 0.25, 0.5, 0.75, 1];
    this.lines.base.setAttribute("d", `M${left} ${bottom}H${right}` + ticks.map((v) => `M${x(v)} ${bottom}v5`).join(""));
    const middle = (top + bottom) / 2;
    if (this.marksAt !== this.plot) {
      this.marksAt = this.plot;
      this.marks.innerHTML =
        ticks.map((v) => `<text x="${x(v)}" y="92" text-anchor="middle">${v}</text>`).join("") +
        `<text class="name" x="0" y="${top + 5}">asked</text><text class="name" x="0" y="${bottom + 5}">given</text>` +
        `<circle cx="${left - 20}" cy="${middle}" r="9" fill="#0072B2"/><text x="${left - 20}" y="${middle + 5}" text-anchor="middle" style="fill:#fff;font-weight:700">A</text>` +
        `<rect x="${right + 11}" y="${middle - 9}" width="18" height="18" rx="2" fill="#D55E00"/><text x="${right + 20}" y="${middle + 5}" text-anchor="middle" style="fill:#14110e;font-weight:700">B</text>`;
      const grab = this.$(".grab");
      grab.style.left = `${left - 9}px`;
      grab.style.width = `${right - left + 18}px`;
    }
    const share = this.indices().length / (LAST + 1);
    const busy = this.$(".busy");
    busy.style.left = `${left}px`;
    busy.style.width = `${right - left}px`;
    busy.style.transform = `scaleX(${share})`;
    busy.style.visibility = share < 1 ? "visible" : "hidden";
    if (share === 1) this.ghosts = [];
  }

  drawLambda() {
    const { left, right, top, bottom } = this.ends;
    const { lam } = this.frame;
    const given = this.shown.weight;
    const x = (v) => left + v * (right - left);
    const set = (name, d) => this.lines[name].setAttribute("d", d);
    set("asked", `M${x(lam)} ${top}V${bottom}`);
    set("lean", `M${x(lam)} ${top}L${x(given)} ${bottom}`);
    set("off", Math.abs(given - lam) > 0.004 ? `M${x(lam)} ${bottom}H${x(given)}` : "");
    set("diamond", `M${x(given)} ${bottom - 7}l7 7l-7 7l-7 -7Z`);
    for (const name of ["knob", "ring"]) {
      this.lines[name].setAttribute("cx", x(lam));
      this.lines[name].setAttribute("cy", top);
    }
    const wish = this.wanted !== null && Math.abs(this.wanted / LAST - lam) > 1e-6;
    this.lines.wish.style.visibility = wish ? "visible" : "hidden";
    this.lines.wish.setAttribute("cx", x((this.wanted ?? 0) / LAST));
    this.lines.wish.setAttribute("cy", top);
    const text = Math.abs(lam * LAST - Math.round(lam * LAST)) < 1e-6 ? lam.toFixed(2) : String(Number(lam.toFixed(4)));
    this.$(".lam").textContent = text;
    const known = this.indices().length;
    this.$(".bh .r").textContent = wish
      ? `λ ${(this.wanted / LAST).toFixed(2)} is still being computed`
      : this.idle ? IDLE
      : known <= LAST ? `updating, ${known} of ${LAST + 1} values are here` : "each thread joins a λ asked to the label given; upright means they agree";
    const grab = this.$(".grab");
    grab.setAttribute("aria-valuenow", text);
    grab.setAttribute("aria-valuetext", this.idle ? IDLE : `${text} asked for B, ${given.toFixed(3)} given`);
  }

  // ---- for tests and screen readers

  label() {
    const { root, scene, frame } = this;
    const view = this.shown;
    root.classList.remove("waiting");
    const n = scene.grid;
    Object.assign(root.dataset, {
      ready: "true",
      scene: scene.key,
      lam: String(Number(frame.lam.toFixed(6))),
      weight: view.weight.toFixed(6),
      block: `${Math.floor(this.block / n)},${this.block % n}`,
      pinned: this.pinned === null ? "" : `${Math.floor(this.pinned / n)},${this.pinned % n}`,
      frames: String(this.indices().length),
      step: this.step ? `${this.step.kind}:${this.step.index}` : "",
      total: view.terms ? view.terms.total.toFixed(6) : "",
      moved: view.moves.map((m) => m.length).join(","),
      overlay: this.overlay,
      alpha: String(this.alpha),
      playing: String(this.progress !== null || Boolean(this.walking)),
      bare: String(this.bare),
    });
    clearTimeout(this.timers.say);
    this.timers.say = setTimeout(() => {
      delete this.timers.say;
      this.announce();
    }, 400);
  }

  announce() {
    if (this.dragging || !this.scene) return;
    const view = this.shown;
    const { pictures } = this.scene;
    const [a, shared, b] = view.counts;
    const names = pictures.map((p) => p.name);
    const alt = {
      A: `Picture A, ${names[0]}`,
      B: `Picture B, ${names[1]}`,
      sA: `Saliency of A, ${this.panel.sA.caption.lastChild.textContent}`,
      sB: `Saliency of B, ${this.panel.sB.caption.lastChild.textContent}`,
      z: `Block mask: ${a} blocks show A, ${b} show B, ${shared} are shared`,
      mA: `A after transport, ${plural(view.moves[0].length, "visible block")} moved`,
      mB: `B after transport, ${plural(view.moves[1].length, "visible block")} moved`,
      mix: `The mix: label A ${percent(1 - view.weight)}, B ${percent(view.weight)}`,
    };
    for (const name of PANELS) if (this.panel[name].base.getAttribute("aria-label") !== alt[name]) this.panel[name].base.setAttribute("aria-label", alt[name]);
    const pinned = this.pinned === null && this.cursor === null ? "" : ` ${this.$(".card h3 span").textContent}: ${this.$(".words").textContent}`;
    const text = `λ ${this.$(".lam").textContent} asked for B, ${view.weight.toFixed(3)} given. ${this.$(".say p").textContent} ${alt.z}.${pinned}`;
    const live = this.$(".sr");
    if (live.textContent !== text) live.textContent = text;
  }

  // ---- hands

  listen() {
    this.stop = new AbortController();
    const { signal } = this.stop;
    const on = (target, type, act, options = {}) => target.addEventListener(type, act, { signal, ...options });
    const { root } = this;
    this.reduced = matchMedia("(prefers-reduced-motion: reduce)");
    on(root, "pointerenter", () => (this.inside = true));
    on(root, "pointerleave", () => (this.inside = false));
    for (const name of PANELS) {
      const { box } = this.panel[name];
      on(box, "pointermove", (e) => this.point(name, e));
      on(box, "pointerleave", () => this.point(name, null));
      on(box, "click", (e) => this.pin(this.blockAt(box, e)));
    }
    on(root, "click", (e) => this.press(e));
    const grab = this.$(".grab");
    const at = (e) => {
      const { left, right } = this.ends;
      const start = this.$(".plot").getBoundingClientRect().left + left;
      return Math.round(((e.clientX - start) / (right - left)) * LAST);
    };
    on(grab, "pointerdown", (e) => {
      if (e.button !== 0 || !this.scene || this.idle) return;
      grab.setPointerCapture(e.pointerId);
      this.dragging = true;
      this.scrub(at(e));
    });
    on(grab, "pointermove", (e) => {
      if (this.dragging) this.scrub(at(e));
    });
    const release = () => {
      this.dragging = false;
      this.invalidate("frame");
    };
    on(grab, "pointerup", release);
    on(grab, "pointercancel", release);
    on(grab, "keydown", (e) => this.slide(e));
    on(this.$(".strength input"), "input", (e) => {
      this.strengths = { ...this.strengths, [this.overlay]: Number(e.target.value) };
      keepStrengths(this.strengths);
      this.invalidate("saliency");
    });
    on(document, "keydown", (e) => this.key(e));
    on(document, "keyup", (e) => {
      if (e.key.toLowerCase() === "x" && this.bare) this.showBare(false);
    });
    on(window, "blur", () => this.bare && this.showBare(false));
    for (const name of TERMS) {
      const light = (term) => () => {
        this.term = term;
        this.cells[name].classList.toggle("hot", term !== null);
        this.invalidate("focus");
      };
      for (const type of ["pointerenter", "focus"]) on(this.cells[name], type, light(name));
      for (const type of ["pointerleave", "blur"]) on(this.cells[name], type, light(null));
    }
  }

  blockAt(box, e) {
    const bounds = box.getBoundingClientRect();
    const n = this.scene?.grid ?? 1;
    const c = Math.floor(((e.clientX - bounds.left) / bounds.width) * n);
    const r = Math.floor(((e.clientY - bounds.top) / bounds.height) * n);
    return c >= 0 && r >= 0 && c < n && r < n ? r * n + c : null;
  }

  point(name, e) {
    if (!this.scene) return;
    const hover = e ? this.blockAt(this.panel[name].box, e) : null;
    const arrow = e && (name === "mA" || name === "mB") ? this.arrowAt(name, e) : null;
    if (hover === this.hover && arrow === this.arrow) return;
    this.hover = hover;
    this.arrow = arrow;
    this.showTip(name);
    this.invalidate("focus");
  }

  /** The arrow under the pointer, within seven pixels of its line. */
  arrowAt(name, e) {
    const bounds = this.panel[name].box.getBoundingClientRect();
    const scale = this.px / bounds.width;
    const [px, py] = [(e.clientX - bounds.left) * scale, (e.clientY - bounds.top) * scale];
    let found = null;
    let least = 7 * this.density;
    for (const move of this.shown.moves[LANE[name]]) {
      const { x0, y0, mx, my, x1, y1 } = this.curve(move);
      for (let k = 0; k <= 12; k++) {
        const t = k / 12;
        const x = (1 - t) ** 2 * x0 + 2 * t * (1 - t) * mx + t * t * x1;
        const y = (1 - t) ** 2 * y0 + 2 * t * (1 - t) * my + t * t * y1;
        const away = Math.hypot(x - px, y - py);
        if (away < least) [least, found] = [away, move];
      }
    }
    return found;
  }

  showTip(name) {
    const tip = this.$(".tip");
    const lane = LANE[name];
    const at = this.hover;
    const move = this.arrow ?? (name[0] === "m" && lane !== undefined ? this.shown.moves[lane].find((m) => m.to === at) : null);
    tip.hidden = !move;
    if (!move) return;
    const n = this.scene.grid;
    const place = (b) => `${Math.floor(b / n) + 1},${(b % n) + 1}`;
    tip.innerHTML = `${place(move.from)} → ${place(move.to)}: gain ${milli(move.gain)} − ξ·cost ${milli(move.cost)} = <b>${signed(move.gain - move.cost)}</b> ×10⁻³`;
    const box = this.panel[name].box;
    const lanes = this.$(".lanes");
    const [bounds, all] = [box.getBoundingClientRect(), lanes.getBoundingClientRect()];
    const middle = bounds.left - all.left + bounds.width / 2;
    const half = tip.offsetWidth / 2;
    tip.style.left = `${Math.max(0, Math.min(all.width - 2 * half, middle - half))}px`;
    // Above A's panel, below B's: the line is wider than a panel and covers no picture there.
    tip.style.top = `${bounds.top - all.top + (lane ? bounds.height + 6 : -34)}px`;
  }

  pin(block) {
    if (block === null || !this.scene) return;
    this.pinned = this.pinned === block ? null : block;
    this.cursor = this.pinned === null ? null : block;
    this.commitBlock();
  }

  commitBlock() {
    const n = this.scene.grid;
    this.invalidate("focus");
    this.commit("block", () => (this.pinned === null ? null : [Math.floor(this.pinned / n), this.pinned % n]), COMMIT_MS);
  }

  press(e) {
    const button = e.target.closest("button");
    if (!button || !this.scene) return;
    if (button.dataset.overlay) {
      this.overlay = button.dataset.overlay;
      this.invalidate("scene");
      this.commit("overlay", () => this.overlay);
    } else if (button.dataset.action) {
      this.mount.setTriggerValue("action", button.dataset.action);
    } else if (button.classList.contains("more")) {
      this.notice += 1;
      this.drawStatus();
    }
    const [what, part] = (button.dataset.do ?? "").split("-");
    if (what === "swap" && !part) this.mount.setTriggerValue("action", "swap");
    if (what === "play") this.play();
    if (what === "help") this.toggleHelp();
    if (part === "prev") this.stepBy(what, -1);
    if (part === "next") this.stepBy(what, 1);
    if (part === "play") this.walkAll(what);
  }

  toggleHelp(open = !this.helping) {
    this.helping = open;
    this.$(".help").hidden = !open;
    (open ? this.$('.help [data-do="help"]') : this.$('.tools [data-do="help"]')).focus({ preventScroll: true });
  }

  showBare(bare) {
    this.bare = bare;
    this.invalidate("scene", "frame");
  }

  slide(e) {
    if (!this.scene || e.ctrlKey || e.metaKey || e.altKey) return;
    const here = this.wanted ?? this.frame.lam * LAST;
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5 }[e.key];
    const to = e.key === "Home" ? 0 : e.key === "End" ? LAST : by ? (by > 0 ? Math.floor(here + 1e-6) : Math.ceil(here - 1e-6)) + by : null;
    if (to === null) return;
    e.preventDefault();
    e.stopPropagation();
    this.scrub(to, to > here ? 1 : -1);
  }

  key(e) {
    if (!this.scene || e.ctrlKey || e.metaKey || e.altKey) return;
    const target = e.composedPath()[0];
    const within = target instanceof Node && this.root.contains(target);
    const free = target === document.body || target === document.documentElement;
    if (!within && !free && !(this.inside && !target.closest?.("input, textarea, select, button, a, [contenteditable], [role=slider]"))) return;
    if (free && !this.inside && hub.stages.size > 1) return;
    const active = within || this.inside;
    const name = e.key.toLowerCase();
    if (this.helping && name === "tab") e.preventDefault();
    if (this.helping && name !== "escape" && name !== "?" && name !== "enter" && name !== " ") return;
    if (name === "x" && !e.repeat) this.showBare(true);
    else if (name === "s" && !e.repeat) this.mount.setTriggerValue("action", "swap");
    else if (name === "?") this.toggleHelp();
    else if (!active) return;
    else if (name === " " && !target.closest?.("button")) {
      e.preventDefault();
      this.play();
    } else if (name === "escape") this.escape();
    else if (name === "enter" && !target.closest?.("button")) this.pin(this.block);
    else if (!target.closest?.(".grab, input")) this.moveBlock(e);
  }

  escape() {
    if (this.helping) return this.toggleHelp(false);
    if (this.step) return this.goStep(this.step.kind, -1);
    this.pinned = this.cursor = this.hover = this.arrow = null;
    this.$(".tip").hidden = true;
    this.commitBlock();
  }

  moveBlock(e) {
    const n = this.scene.grid;
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[e.key];
    if (!step) return;
    e.preventDefault();
    const clamp = (v) => Math.max(0, Math.min(n - 1, v));
    const from = this.block;
    this.cursor = clamp(Math.floor(from / n) + step[0]) * n + clamp((from % n) + step[1]);
    this.hover = this.arrow = null;
    this.$(".tip").hidden = true;
    if (this.pinned !== null) {
      this.pinned = this.cursor;
      this.commitBlock();
    }
    this.invalidate("focus");
  }
}

// ---------------------------------------------------------------- mounts

/** Takes a mount without pixels of its own out of the page's flow. */
function hide(parent) {
  const element = (parent.host ?? parent).closest(".stElementContainer, [data-testid=stElementContainer]");
  if (element) element.style.display = "none";
}

hub.open = (mount) => {
  const parent = mount.parentElement;
  if (mount.name === "mixviz_stage") {
    let stage = hub.stages.get(parent);
    if (!stage) hub.stages.set(parent, (stage = new Stage(parent)));
    stage.update(mount);
    return () => hub.close(parent);
  }
  hide(parent);
  if (hub.seen.get(parent) !== mount.data) {
    hub.seen.set(parent, mount.data);
    if (mount.name === "mixviz_feed") takeFeed(mount.data).catch((error) => console.error("mixviz: a feed could not be read", error));
    else takeShelf(mount.data);
  }
  return () => {};
};

hub.close = (parent) => {
  hub.stages.get(parent)?.close();
  hub.stages.delete(parent);
  hub.seen.delete(parent);
};

export default function ({ data, parentElement }) {
  hide(parentElement);
  if (!hub.sheet) hub.sheet = new CSSStyleSheet();
  if (hub.css !== data.css) hub.sheet.replaceSync((hub.css = data.css));
  for (const mount of hub.waiting.values()) hub.open(mount);
  hub.waiting.clear();
}
