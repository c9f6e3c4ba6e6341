// What every stage shares. Reading order of the program: canvas.js (bytes, hub, colours and pixels,
// words, the Surface), stage.js (masks of blocks), pixels.js (masks of pixels), mounts.js (the way in).
// One instance draws one mount; `hub` holds what mounts share.

const LAST = 50; // lambda runs over i / 50, 51 values
const COMMIT_MS = 150;
const DECODED_KEPT = 32;
const ENCODED_BYTES = 64 * 2 ** 20;
const OVERLAYS = ["blocks", "heat", "contour", "spotlight"];
const IDLE = "λ is not used: the label is independent of it";
const STRENGTHS = { heat: 66, contour: 100, spotlight: 88 }; // percent, until the visitor says otherwise
const KEPT = "mixviz-overlay-strength";
const CONTRACT = { exact: "=", recomputed: "↻", encouraged: "≈", independent: "∥", single: "1" };

// ---------------------------------------------------------------- bytes

/** A message is a header length, a JSON header and, from the next multiple of 8, a body. */
function unpack(bytes) {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  return [header, bytes.slice(Math.ceil((4 + length) / 8) * 8).buffer];
}

function readScene(h, buffer) {
  const n2 = h.grid * h.grid;
  const blocks = h.saliency.map((s) => new Float32Array(buffer, s.blocks, n2));
  return { ...h, blocks, top: Math.max(1e-12, ...blocks[0], ...blocks[1]) };
}

// ---------------------------------------------------------------- hub

const hub = (window.mixvizStage ??= { waiting: new Map() });
hub.shelf ??= new Map(); // digest -> encoded picture or array
hub.decoded ??= new Map(); // digest -> picture
hub.stages ??= new Map(); // parentElement -> Surface
hub.seen ??= new WeakMap(); // parentElement -> bytes last handled
hub.draws ??= []; // milliseconds of the last draws, for whoever measures

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

const MAGMA_256 = Array.from({ length: 256 }, (_, i) => [...ramp(MAGMA, i / 255), 255]);
const magma = (share) => MAGMA_256[Math.max(0, Math.min(255, Math.round(255 * share)))];
const wordOf = ([red, green, blue]) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

// ---------------------------------------------------------------- words

const minus = (text) => text.replace("-", "−");
const percent = (v, digits = 1) => `${(100 * v).toFixed(digits)}\u2009%`;
const plural = (n, one) => `${n} ${one}${n === 1 ? "" : "s"}`;
const tag = (letter) => `<span class="tag ${letter}">${letter}</span>`;
const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

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

// ---------------------------------------------------------------- the surface

const LANE = { A: 0, sA: 0, gA: 0, mA: 0, B: 1, sB: 1, gB: 1, mB: 1 };
const SVG = "http://www.w3.org/2000/svg";

const panelHtml = (name, place, owner) =>
  `<figure class="pan${owner ? "" : " lone"}" style="${place}" data-p="${name}"><figcaption></figcaption>` +
  `<div class="cv ${owner}"><canvas class="base" role="img"></canvas><canvas class="top" aria-hidden="true"></canvas></div>` +
  `${owner ? "" : '<div class="under"></div>'}</figure>`;
const lanePair = (column, name) =>
  panelHtml(`${name}A`, `grid-column:${column};grid-row:2`, "A") + panelHtml(`${name}B`, `grid-column:${column};grid-row:3`, "B");
const head = (column, name) => `<div class="colh" style="grid-column:${column};grid-row:1"><span>${column}</span>${name}</div>`;
const foot = (column, inner, extra = "") => `<div class="foot ${extra}" style="grid-column:${column}">${inner}</div>`;
const scale = (low, high, fill, title = "") => `<div class="scale" title="${title}"><span>${low}</span><span class="ramp" style="background:${fill}"></span><span>${high}</span></div>`;
const STRENGTH =
  '<label class="strength" title="Strength of the overlay"><svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="6.5"/><path d="M8 1.5a6.5 6.5 0 0 1 0 13z"/></svg>' +
  '<input type="range" min="0" max="100" step="2" aria-label="Strength of the overlay"></label>';

/** The whole of a stage; `keys` are a key's sign, what it does, and a class. */
const frameHtml = ({ lanes, hint, table, below = "", keys }) => `
<div class="frame">
  <div class="status"><div class="say"><b></b><p></p><button class="btn fix" hidden></button><button class="more" hidden></button></div>
    <div class="tools">${STRENGTH}<button class="btn sq" data-do="help" aria-label="keyboard help" aria-haspopup="dialog">?</button>
    <div class="seg" role="group" aria-label="How saliency is drawn">${OVERLAYS.map((o) => `<button data-overlay="${o}" aria-pressed="false">${o[0].toUpperCase()}${o.slice(1)}</button>`).join("")}</div></div></div>
  <div class="stage">
    <div class="lanes" tabindex="0" role="group" aria-label="${hint}">${lanes}</div>
    <div class="card"><h3><span></span><small></small></h3>
      <div class="crops"><div><canvas></canvas><span>${tag("A")}<span></span></span></div><div><canvas></canvas><span>${tag("B")}<span></span></span></div><div><canvas></canvas><span>the mix</span></div></div>
      ${table}<p class="words"></p></div>
    <div class="band"><div class="bh"><b>λ asked</b><span><b class="lam"></b> for B</span><span class="r"></span></div>
      <div class="plot"><div class="grab" role="slider" tabindex="0" aria-label="lambda, the share asked for picture B" aria-valuemin="0" aria-valuemax="1"></div><svg aria-hidden="true"></svg><div class="busy"></div></div></div>
    <div class="gauge"><h3>Label given <span class="badge"></span></h3>
      ${["asked", "given"].map((w) => `<div class="grow" data-g="${w}"><span>${w}</span><span class="two"><span class="a"></span><span class="b"></span></span><span class="num"><span class="At"></span><span class="Bt"></span></span></div>`).join("")}
      <p class="note"></p></div>
  </div>
  ${below}
  <div class="sr" aria-live="polite"></div>
  <div class="help" hidden><div role="dialog" aria-modal="true" aria-label="Keyboard help"><h3>Keys <button class="btn" data-do="help">Close <kbd>Esc</kbd></button></h3><dl>
    ${keys.map(([key, does, kind = ""]) => `<dt class="${kind}">${key}</dt><dd class="${kind}">${does}</dd>`).join("")}</dl></div></div>
</div>`;

/**
 * The panels, the card, λ and the label, without what is in them. Who extends it gives `html`,
 * `panels`, `lam`, `given`, `weights()`, `closest`, `status`, `notices`, and draws the frame.
 */
class Surface {
  constructor(parent) {
    this.parent = parent;
    this.scene = null;
    this.photos = null;
    this.hover = this.pinned = this.cursor = null;
    this.overlay = "blocks";
    this.strengths = keptStrengths();
    this.bare = this.helping = this.inside = this.dragging = false;
    this.count = 0;
    this.committed = {};
    this.timers = {};
    this.wanted = null;
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
    root.innerHTML = this.html;
    if ("adoptedStyleSheets" in this.parent) this.parent.adoptedStyleSheets = [hub.sheet];
    this.parent.append(root);
    const one = (this.$ = (selector) => root.querySelector(selector));
    this.panel = Object.fromEntries(
      this.panels.map((name) => {
        const figure = one(`[data-p="${name}"]`);
        return [name, { figure, caption: figure.querySelector("figcaption"), box: figure.querySelector(".cv"), base: figure.querySelector(".base"), top: figure.querySelector(".top"), under: figure.querySelector(".under") }];
      }),
    );
    for (const name of this.panels) {
      if (name in LANE) this.panel[name].caption.innerHTML = `${tag(name.at(-1))}<span class="t"></span>`;
    }
    this.panel.z.caption.innerHTML = '<span>z, share of B</span><span class="r"></span>';
    this.panel.mix.caption.innerHTML = "<span>the new picture</span>";
    const line = '<div class="ln">' + tag("A") + '<span></span><span class="gap"></span>' + tag("B") + "<span></span></div><div></div>";
    for (const name of ["z", "mix"]) this.panel[name].under.innerHTML = line;
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

  picturesCame() {
    if (this.next) this.adopt();
  }

  /** More λ came; only who waits for them cares. */
  framesCame() {}

  /** Takes the scene's pictures and maps; null while one is on its way, else whether any changed. */
  takePictures(scene) {
    const digests = [...scene.pictures, ...scene.saliency].map((p) => p.digest);
    const found = digests.map(picture);
    if (found.includes(null)) return null;
    if (this.digests === digests.join()) return false;
    const [a, b, sa, sb] = found;
    this.digests = digests.join();
    this.photos = [a, b.size === a.size ? b : toPicture(b.canvas, a.size)];
    this.maps = [sa, sb];
    this.flat = new ImageData(a.size, a.size);
    this.out = new Uint32Array(this.flat.data.buffer);
    this.scratch = [makeCanvas(a.size), makeCanvas(a.size)];
    return true;
  }

  /** Whether the server has answered all that was done here, so that what it says counts. */
  isAnswer(header, first) {
    if (header.seen > this.count) this.count = header.seen;
    return first || (header.seen >= this.count && !this.busy);
  }

  /** What the page names; else it stays as it is here, or as it was left before this mount. */
  named(header, first, name) {
    return header[name] ?? (first ? header.own[name] : undefined);
  }

  takeBlock(block) {
    if (block === undefined) return;
    this.pinned = this.toBlock(block);
    this.committed.block = block;
  }

  takeOverlay(overlay) {
    if (overlay !== undefined) this.committed.overlay = this.overlay = overlay ?? "blocks";
  }

  toBlock(place) {
    const n = this.scene.grid;
    return place && place[0] < n && place[1] < n ? place[0] * n + place[1] : null;
  }

  get busy() {
    return this.dragging || "lam" in this.timers;
  }

  // ---- lambda

  /** Whether the method never looks at lambda, so that there is nothing to scrub. */
  get idle() {
    return this.scene.contract === "independent";
  }

  get threadWords() {
    return "each thread joins a λ asked to the label given; upright means they agree";
  }

  /** Whether no further λ are on their way. */
  get complete() {
    return true;
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

  get block() {
    return this.hover ?? this.pinned ?? this.cursor ?? this.closest.block;
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
    if (dirty.has("threads")) this.drawThreads();
    if (frame || dirty.has("threads")) this.drawLambda();
    if (frame || dirty.has("focus")) this.drawFocus();
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
    const peak = this.hottest;
    const swatch = (dash) => `<svg viewBox="0 0 20 8"><path d="M0 4H20" stroke="currentColor" stroke-width="2" stroke-dasharray="${dash}"/></svg>`;
    this.$(".foot.maps").innerHTML = {
      blocks: scale("0", percent(scene.top), MAGMA_CSS),
      heat: scale("0", `${peak.toFixed(peak < 10 ? 1 : 0)}× mean`, MAGMA_CSS),
      contour: `<div class="keys2" title="Lines enclose half and four fifths of the blurred saliency"><span>${swatch("none")}half</span><span>${swatch("4 3")}80\u2009%</span></div>`,
      spotlight: scale("dark", "salient", "linear-gradient(90deg,#000,#fff)"),
    }[this.overlay];
    this.$(".badge").innerHTML = `${CONTRACT[scene.contract] ?? ""} ${escape(scene.contract_words).replace(/[βγηξ]/g, "<i>$&</i>")}`;
    this.$(".grab").setAttribute("aria-disabled", String(this.idle));
    this.$(".band").classList.toggle("idle", this.idle);
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

  /** What heat is made of: { side, values in units of the map's peak, top }. */
  heatOf(map) {
    return softMap(map);
  }

  /** The larger peak of the two drawn maps, in times a map's mean: where the heat's scale ends. */
  get hottest() {
    return Math.max(...this.maps.map((map, q) => this.heatOf(map).top * this.scene.saliency[q].peak));
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
    if (this.overlay === "heat") {
      const share = scene.saliency[q].peak / Math.max(1e-12, this.hottest);
      context.globalAlpha = alpha;
      context.drawImage(tinted(this.heatOf(this.maps[q]), (v) => magma(v * share)), 0, 0, px, px);
      context.globalAlpha = 1;
      return;
    }
    const soft = softMap(this.maps[q]);
    if (this.overlay === "spotlight") {
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

  /** The two-tone frame round block b; at least nine pixels wide, so that a fine grid shows it too. */
  reticle(context, b, dotted = false) {
    const { px, density, scene } = this;
    const [x, y, w, h] = cell(px, scene.grid, b);
    const edge = 1.7 * density;
    const more = Math.max(0, 9 * density - Math.min(w, h)) / 2;
    const span = (start, length) => {
      const low = more ? Math.min(start - more, px - edge - length - 2 * more) : start;
      const from = Math.max(edge, low);
      return [from, Math.min(px - edge, low + length + 2 * more) - from];
    };
    const [left, wide] = span(x, w);
    const [top, tall] = span(y, h);
    const sides = [left, top, wide, tall];
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
  }

  /** The two numbers below a lone panel, A's and B's, and the line under them. */
  drawUnder(name, a, b, words) {
    const { under } = this.panel[name];
    const [first, second] = under.querySelectorAll(":scope > .ln > span:not(.tag):not(.gap)");
    first.textContent = a;
    second.textContent = b;
    under.lastChild.textContent = words;
    if (name === "mix") [first.className, second.className] = ["At", "Bt"];
  }

  drawGauge() {
    const { lam, given } = this;
    for (const [name, v] of [["asked", lam], ["given", given]]) {
      const row = this.$(`[data-g="${name}"]`);
      row.querySelector(".a").style.width = `${100 * (1 - v)}%`;
      row.querySelector(".b").style.width = `${100 * v}%`;
      row.querySelector(".At").textContent = `A ${(1 - v).toFixed(3)}`;
      row.querySelector(".Bt").textContent = `B ${v.toFixed(3)}`;
    }
    const gap = given - lam;
    this.$(".note").textContent = `B gets ${Math.abs(gap) < 5e-4 ? "what was asked" : `${Math.abs(gap).toFixed(3)} ${gap < 0 ? "less" : "more"}`} · sum 1.000`;
  }

  /** Names the focused block in the card; `found` says why it is shown while nothing is pointed at. */
  drawCardHead(b, found) {
    const { grid } = this.scene;
    const [title, how] = this.$(".card h3").children;
    title.textContent = `Row ${Math.floor(b / grid) + 1}, column ${(b % grid) + 1}`;
    how.textContent = this.hover !== null ? (this.pinned === this.hover ? "click frees" : "click pins") : this.pinned !== null ? "pinned, Esc frees" : this.cursor !== null ? "Enter pins" : found;
  }

  /** One line of words: `told` { lead, text }, else a notice, else the status. */
  drawStatus(told = null) {
    const { notices } = this;
    const line = this.$(".say");
    const [lead, words, fix, more] = line.children;
    const notice = notices[this.notice % Math.max(1, notices.length)];
    line.className = `say ${told ? "step" : notice ? "notice" : ""}`;
    lead.textContent = told ? told.lead : notice ? "▲ Notice" : "";
    lead.hidden = !lead.textContent;
    if (told) words.textContent = told.text;
    else words.textContent = notice ? (notice[2] ? notice[0] : `${notice[0]} ${notice[1]}`) : this.status;
    words.title = words.textContent;
    fix.hidden = Boolean(told) || !notice?.[2];
    fix.textContent = notice?.[1] ?? "";
    fix.dataset.action = notice?.[2] ?? "";
    more.hidden = Boolean(told) || notices.length < 2;
    more.textContent = `${(this.notice % Math.max(1, notices.length)) + 1} of ${notices.length}`;
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
    const weights = this.weights();
    const ghosts = this.ghosts ?? [];
    const paths = { threads: "", ghosts: "", known: "", unknown: "", dots: "" };
    for (let i = 0; i <= LAST; i++) {
      const weight = weights[i];
      const line = (end) => `M${x(i / LAST)} ${top}L${x(end)} ${bottom}`;
      const piece = `M${x(Math.max(0, (i - 0.5) / LAST))} ${top}H${x(Math.min(1, (i + 0.5) / LAST))}`;
      if (weight !== undefined) paths.threads += line(weight);
      if (weight !== undefined || this.complete) paths.known += piece;
      else {
        if (ghosts[i] !== undefined) paths.ghosts += line(ghosts[i]);
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
    const share = this.complete ? 1 : this.indices().length / (LAST + 1);
    const busy = this.$(".busy");
    busy.style.left = `${left}px`;
    busy.style.width = `${right - left}px`;
    busy.style.transform = `scaleX(${share})`;
    busy.style.visibility = share < 1 ? "visible" : "hidden";
  }

  /** Indices i whose lambda i / 50 can be drawn now, ascending. */
  indices() {
    const weights = this.weights();
    return Array.from({ length: LAST + 1 }, (_, i) => i).filter((i) => weights[i] !== undefined);
  }

  drawLambda() {
    const { left, right, top, bottom } = this.ends;
    const { lam, given } = this;
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
    this.$(".bh .r").textContent = wish
      ? `λ ${(this.wanted / LAST).toFixed(2)} is still being computed`
      : this.idle ? IDLE
      : this.complete ? this.threadWords
      : `updating, ${this.indices().length} of ${LAST + 1} values are here`;
    const grab = this.$(".grab");
    grab.setAttribute("aria-valuenow", text);
    grab.setAttribute("aria-valuetext", this.idle ? IDLE : `${text} asked for B, ${given.toFixed(3)} given`);
  }

  // ---- for tests and screen readers

  /** Says what is shown as data attributes, and in words once it has rested. */
  tell(shown) {
    this.root.classList.remove("waiting");
    const n = this.scene.grid;
    const place = (b) => (b === null ? "" : `${Math.floor(b / n)},${b % n}`);
    Object.assign(this.root.dataset, {
      ready: "true",
      scene: this.scene.key,
      lam: String(Number(this.lam.toFixed(6))),
      weight: this.given.toFixed(6),
      block: place(this.block),
      pinned: place(this.pinned),
      frames: String(this.indices().length),
      overlay: this.overlay,
      alpha: String(this.alpha),
      bare: String(this.bare),
      ...shown,
    });
    clearTimeout(this.timers.say);
    this.timers.say = setTimeout(() => {
      delete this.timers.say;
      this.announce();
    }, 400);
  }

  /** Gives each panel its text, and the whole its own: λ, the status, `summary`, the block. */
  announceAs(alt, summary) {
    for (const name of this.panels) if (this.panel[name].base.getAttribute("aria-label") !== alt[name]) this.panel[name].base.setAttribute("aria-label", alt[name]);
    const pinned = this.pinned === null && this.cursor === null ? "" : ` ${this.$(".card h3 span").textContent}: ${this.$(".words").textContent}`;
    const text = `λ ${this.$(".lam").textContent} asked for B, ${this.given.toFixed(3)} given. ${this.$(".say p").textContent} ${summary}.${pinned}`;
    const live = this.$(".sr");
    if (live.textContent !== text) live.textContent = text;
  }

  // ---- hands


  listen() {
    this.stop = new AbortController();
    const on = (...args) => this.on(...args);
    const { root } = this;
    this.reduced = matchMedia("(prefers-reduced-motion: reduce)");
    on(root, "pointerenter", () => (this.inside = true));
    on(root, "pointerleave", () => (this.inside = false));
    for (const name of this.panels) {
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
  }

  on(target, type, act) {
    target.addEventListener(type, act, { signal: this.stop.signal });
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
    if (hover === this.hover) return;
    this.hover = hover;
    this.invalidate("focus");
  }

  /** Forgets where the pointer is: keys have taken over. */
  leave() {
    this.hover = null;
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
    this.act(what, part);
  }

  act(what, part) {
    if (what === "swap" && !part) this.mount.setTriggerValue("action", "swap");
    if (what === "help") this.toggleHelp();
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
    const here = this.wanted ?? this.lam * LAST;
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
    else if (name === "s" && !e.repeat && this.scene.swappable !== false) this.mount.setTriggerValue("action", "swap");
    else if (name === "?") this.toggleHelp();
    else if (!active) return;
    else if (name === " " && this.play && !target.closest?.("button")) {
      e.preventDefault();
      this.play();
    } else if (name === "escape") this.escape();
    else if (name === "enter" && !target.closest?.("button")) this.pin(this.block);
    else if (!target.closest?.(".grab, input")) this.moveBlock(e);
  }

  escape() {
    if (this.helping) return this.toggleHelp(false);
    this.leave();
    this.pinned = this.cursor = null;
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
    this.leave();
    if (this.pinned !== null) {
      this.pinned = this.cursor;
      this.commitBlock();
    }
    this.invalidate("focus");
  }
}
