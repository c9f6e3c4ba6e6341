// The stage of masks of pixels. A mask is a fixed part and a free part that takes λ itself, so one
// array holds it at every λ and scrubbing needs no frames from the server.

const FREE = 65535; // what stands in the array where λ decides; shares are v / WHOLE
const WHOLE = 65534;
const MIX_WORDS = Uint32Array.from({ length: 256 }, (_, i) => wordOf(ramp(MIX, i / 255)));
const MAGMA_WORDS = Uint32Array.from(MAGMA_256, wordOf);
const PIXEL_PANELS = ["A", "B", "sA", "sB", "gA", "gB", "z", "mix"];
const MIX_CSS = `linear-gradient(90deg,${MIX.map(rgb).join(",")})`;
const MARK = 10; // pixels between the marks that repeat a mask's colours
const NEAR = 0.005; // shares that look the same with two digits
const CONTEXT = 8; // a crop shows at least this part of a picture's side

const PIXEL_HTML = frameHtml({
  hint: "Stage. Arrow keys move the cell, Enter pins it, Escape releases it, hold X for the bare photographs, question mark for help.",
  lanes: `
      ${head(1, "Pictures")}${lanePair(1, "")}${foot(1, '<button class="btn" data-do="swap">Swap A, B <kbd>S</kbd></button>', "swaps")}
      ${head(2, "Saliency")}${lanePair(2, "s")}${foot(2, "", "maps")}
      ${head(3, '<div class="guide-title"></div>')}${lanePair(3, "g")}${foot(3, "", "guide")}
      ${head(4, "Mask")}${panelHtml("z", "grid-column:4", "")}${foot(4, scale(tag("A"), tag("B"), MIX_CSS, "Share of B: blue shows A, orange B, grey both evenly"))}
      ${head(5, "Mix")}${panelHtml("mix", "grid-column:5", "")}${foot(5, "<span>Hold <kbd>X</kbd> bare photos</span>", "hint")}`,
  table: '<table class="costs facts"><tbody></tbody></table>',
  keys: [
    ["<kbd>←</kbd> <kbd>↑</kbd> <kbd>→</kbd> <kbd>↓</kbd>", "move the cell; on λ, change it"],
    ["<kbd>Enter</kbd> or click", "pin the cell"],
    ["<kbd>Esc</kbd>", "release it"],
    ["hold <kbd>X</kbd>", "bare photographs"],
    ["<kbd>S</kbd>", "swap A and B", "swaps"],
    ["<kbd>Page Up</kbd> <kbd>Home</kbd> <kbd>End</kbd>", "λ in larger steps"],
  ],
});

/** `text` with {name} replaced by the value of that name. */
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
const shareText = (v) => (v < 5e-4 ? "0" : v > 0.9995 ? "1" : v.toFixed(2).replace(/^0/, ""));
const isNear = (a, b) => Math.abs(a - b) < 1e-6;

/** A map as it is, without the blur that regions and level lines need. */
function rawMap(pic) {
  if (!pic.raw) {
    const values = Float32Array.from({ length: pic.size ** 2 }, (_, i) => pic.data[4 * i] / 255);
    pic.raw = { side: pic.size, values, top: 1 };
  }
  return pic.raw;
}

class PixelStage extends Surface {
  constructor(parent) {
    super(parent);
    this.lam = 0.5;
    this.cells = new Map(); // cells per side -> what the mask holds in each
    this.mask = null;
  }

  get html() {
    return PIXEL_HTML;
  }

  get panels() {
    return PIXEL_PANELS;
  }

  // ---- what comes from the server

  receive(bytes) {
    const [header, buffer] = unpack(bytes);
    const scene = readScene(header.scene, buffer);
    const n2 = scene.grid ** 2;
    scene.rows = scene.rows.map((row) => ({ ...row, values: new Float32Array(buffer, row.at, n2) }));
    this.next = { scene, header };
    this.adopt();
  }

  /** Takes the newest scene once its pictures and arrays are there; until then the old one stays. */
  adopt() {
    const { scene, header } = this.next;
    const arrays = [scene.mask, ...(scene.guide?.digests ?? [])].map((digest) => hub.shelf.get(digest));
    if (arrays.includes(undefined)) return;
    const repainted = this.takePictures(scene);
    if (repainted === null) return;
    this.next = null;
    const first = !this.scene;
    const resized = scene.grid !== this.scene?.grid;
    const changed = scene.key !== this.scene?.key;
    const drawn = this.overlay;
    if (changed) {
      this.hover = null;
      if (resized) this.pinned = this.cursor = null;
    }
    this.scene = scene;
    this.guides = arrays.slice(1);
    if (this.maskAt !== scene.mask || repainted) this.takeMask(scene.mask, new Uint16Array(arrays[0].buffer));
    const last = this.lam;
    if (this.isAnswer(header, first)) {
      this.lam = this.committed.lam = header.lam;
      this.wanted = null;
      this.takeBlock(this.named(header, first, "block"));
      this.takeOverlay(this.named(header, first, "overlay"));
    } else if (!scene.scrubs) {
      // The mask that came belongs to its own λ; the visitor's is still on its way.
      this.lam = header.lam;
      this.wanted ??= Math.round(last * LAST);
    }
    this.view = null;
    this.notice = 0;
    this.invalidate("frame", "threads");
    if (changed || repainted || this.overlay !== drawn) this.invalidate("scene");
  }

  /** The mask at the photographs' size, apart into what is fixed and where λ decides. */
  takeMask(digest, packed) {
    const { size } = this.photos[0];
    const side = Math.round(Math.sqrt(packed.length));
    const values = new Uint16Array(size * size);
    for (let r = 0; r < size; r++) {
      const row = Math.floor(((r + 0.5) * side) / size) * side;
      for (let c = 0; c < size; c++) values[r * size + c] = packed[row + Math.floor(((c + 0.5) * side) / size)];
    }
    this.maskAt = digest;
    this.mask = values;
    this.cells.clear();
    const whole = { fixed: 0, free: 0, over: 0, under: 0 };
    for (const v of values) {
      if (v === FREE) whole.free++;
      else {
        whole.fixed += v / WHOLE;
        if (2 * v > WHOLE) whole.over++;
        else if (2 * v < WHOLE) whole.under++;
      }
    }
    for (const name of Object.keys(whole)) whole[name] /= values.length;
    this.whole = whole;
  }

  /** What the mask holds in each cell of a side of `n`: the fixed share, the free part, evenness. */
  cellsOf(n) {
    if (this.cells.has(n)) return this.cells.get(n);
    const { size } = this.photos[0];
    const found = { fixed: new Float32Array(n * n), free: new Float32Array(n * n), even: true };
    for (let b = 0; b < n * n; b++) {
      const [x, y, w, h] = cell(size, n, b);
      const start = this.mask[y * size + x];
      for (let r = y; r < y + h; r++) {
        for (let c = x; c < x + w; c++) {
          const v = this.mask[r * size + c];
          if (v !== start) found.even = false;
          if (v === FREE) found.free[b]++;
          else found.fixed[b] += v / WHOLE;
        }
      }
      found.fixed[b] /= Math.max(1, w * h);
      found.free[b] /= Math.max(1, w * h);
    }
    this.cells.set(n, found);
    return found;
  }

  // ---- lambda

  get status() {
    return fill(this.scene.status, { lam: this.lam.toFixed(2), weight: percent(this.given, 0), over: percent(this.shown.over, 0) });
  }

  get notices() {
    return this.scene.notices;
  }

  /** The label given at λ: the mask's mean, or what the page says, straight between two stops. */
  weightAt(lam) {
    const { weights } = this.scene;
    if (!weights) return this.whole.fixed + this.whole.free * lam;
    const low = Math.min(LAST - 1, Math.floor(lam * LAST + 1e-9));
    return weights[low] + (weights[low + 1] - weights[low]) * (lam * LAST - low);
  }

  get given() {
    return this.weightAt(this.lam);
  }

  get threadWords() {
    return this.scene.weights || this.scene.scrubs ? super.threadWords : "each λ is computed when it is asked for";
  }

  weights() {
    const { weights, scrubs } = this.scene;
    if (weights) return weights;
    if (scrubs) return Array.from({ length: LAST + 1 }, (_, i) => this.weightAt(i / LAST));
    const here = Math.round(this.lam * LAST);
    const found = [];
    if (isNear(here / LAST, this.lam)) found[here] = this.given;
    return found;
  }

  /** Goes to a stop of λ; where the mask follows λ in another way, the server is asked for it. */
  scrub(index) {
    if (this.idle) return;
    const to = Math.max(0, Math.min(LAST, index));
    if (this.scene.scrubs) this.lam = to / LAST;
    this.wanted = isNear(to / LAST, this.lam) ? null : to;
    this.invalidate("frame");
    this.commit("lam", () => (this.wanted === null ? this.lam : this.wanted / LAST), COMMIT_MS);
  }

  // ---- what is shown

  get shown() {
    const { lam, scene, whole } = this;
    if (this.view?.lam === lam) return this.view;
    const { fixed, free } = this.cellsOf(scene.grid);
    const share = Float32Array.from(fixed, (v, b) => v + free[b] * lam);
    this.view = { lam, share, over: whole.over + (lam > 0.5 ? whole.free : 0), under: whole.under + (lam < 0.5 ? whole.free : 0), closest: this.closestCell(share) };
    return this.view;
  }

  get closest() {
    return this.shown.closest;
  }

  /**
   * What the card shows while nothing is pointed at: the cell whose share is nearest to a half, the
   * most salient of those within NEAR of it; so the most salient of all where every share is 0 or 1.
   */
  closestCell(share) {
    const [s0, s1] = this.scene.blocks;
    const away = share.map((v) => Math.abs(v - 0.5));
    const least = away.reduce((a, b) => Math.min(a, b));
    let best = -1;
    away.forEach((v, b) => {
      if (v <= least + NEAR && (best < 0 || s0[b] + s1[b] > s0[best] + s1[best])) best = b;
    });
    return { block: best, known: least < 0.5 - NEAR };
  }

  // ---- drawing

  drawScene() {
    const { scene } = this;
    super.drawScene();
    this.root.classList.toggle("unguided", !scene.guide);
    const columns = scene.guide ? { z: 4, mix: 5 } : { z: 3, mix: 4 };
    for (const [name, column] of Object.entries(columns)) {
      const { figure } = this.panel[name];
      const parts = [figure.previousElementSibling, figure, figure.nextElementSibling];
      for (const part of parts) part.style.gridColumn = column;
      parts[0].firstChild.textContent = column;
    }
    for (const hidden of this.root.querySelectorAll(".swaps")) hidden.hidden = !scene.swappable;
    if (scene.guide) this.drawGuides();
    this.$('[data-g="asked"]').hidden = this.idle;
    const rows = scene.rows.filter((row) => row.format !== "words").map((row) => row.name);
    const names = [...rows, "B in the mask here"];
    this.$(".facts tbody").innerHTML = names.map((name, i) => `<tr class="${i === rows.length ? "sum" : ""}"><th scope="row">${escape(name)}</th><td></td></tr>`).join("");
    this.facts = [...this.root.querySelectorAll(".facts td")];
  }

  drawGuides() {
    const { guide } = this.scene;
    this.$(".guide-title").textContent = guide.title;
    [0, 1].forEach((q) => {
      const name = q ? "gB" : "gA";
      const title = this.panel[name].caption.querySelector(".t");
      title.textContent = title.title = guide.captions[q];
      if (this.bare) return this.photo(name, q);
      const values = this.guides[q];
      const side = Math.round(Math.sqrt(values.length));
      const chosen = guide.kind === "chosen";
      const words = chosen ? [wordOf(MIX[1]), wordOf(MIX[2 * q])] : MAGMA_WORDS;
      const context = this.sheet(this.panel[name].base);
      context.imageSmoothingEnabled = !chosen;
      context.drawImage(this.painted(side, (i) => words[values[i]]), 0, 0, this.px, this.px);
      if (chosen) this.drawMarks(context, side, (b) => (values[b] ? q : 0.5));
    });
    const key = (q) => `<span>${["A", "B"].map((letter) => `<i class="chip ${letter}${q ? "" : " off"}"></i>`).join("")}${["rest", "chosen"][q]}</span>`;
    this.$(".foot.guide").innerHTML = guide.kind === "chosen" ? `<div class="keys2">${key(1)}${key(0)}</div>` : scale("0", `${guide.top.toFixed(guide.top < 10 ? 1 : 0)}× mean`, MAGMA_CSS, "What is brighter is drawn alike");
  }

  /** A canvas of `side` pixels with the words that `wordAt` gives. */
  painted(side, wordAt) {
    const canvas = makeCanvas(side);
    const image = new ImageData(side, side);
    const words = new Uint32Array(image.data.buffer);
    for (let i = 0; i < words.length; i++) words[i] = wordAt(i);
    canvas.getContext("2d").putImageData(image, 0, 0);
    return canvas;
  }

  /** Repeats the mask's colours for who cannot see them: a stroke where A shows, a dot where B does. */
  drawMarks(context, n, shareAt) {
    const { px, density } = this;
    context.strokeStyle = "#ffffffa0";
    context.fillStyle = "#14110eb0";
    context.lineWidth = density;
    context.beginPath();
    for (let b = 0; b < n * n; b++) {
      const share = shareAt(b);
      if (share >= 0.25 && share <= 0.75) continue;
      const [x, y, w, h] = cell(px, n, b);
      const [cx, cy] = [x + w / 2, y + h / 2];
      const reach = Math.min(5 * density, w * 0.2);
      if (share > 0.75) context.fillRect(cx - reach / 2, cy - reach / 2, reach, reach);
      else {
        context.moveTo(cx - reach, cy + reach);
        context.lineTo(cx + reach, cy - reach);
      }
    }
    context.stroke();
  }

  heatOf(map) {
    return rawMap(map);
  }

  drawFrame() {
    const view = this.shown;
    const { scene, given } = this;
    this.drawMask();
    this.drawMix();
    const free = this.whole.free;
    this.drawUnder("z", percent(view.under, 0), percent(view.over, 0), free ? `${percent(free, 0)} take λ` : "of the pixels");
    this.drawUnder("mix", percent(1 - given, 0), percent(given, 0), "label given");
    for (const [q, letter] of [[0, "A"], [1, "B"]]) {
      const [none, all] = scene.exposed[q];
      this.panel[`s${letter}`].caption.lastChild.textContent = `${percent(none + (all - none) * this.lam)} kept`;
    }
    this.drawStatus();
    this.drawGauge();
    if (this.idle) this.$(".note").textContent = "whatever λ is asked · sum 1.000";
    // Where only this λ is known its thread is the only one.
    if (!scene.scrubs && !scene.weights) this.invalidate("threads");
  }

  drawMask() {
    const { scene, px, density, mask, lam } = this;
    const context = this.sheet(this.panel.z.base);
    const free = MIX_WORDS[Math.round(255 * lam)];
    const { size } = this.photos[0];
    const image = this.flat;
    const { out } = this;
    const step = 255 / WHOLE;
    for (let i = 0; i < mask.length; i++) out[i] = mask[i] === FREE ? free : MIX_WORDS[(mask[i] * step + 0.5) | 0];
    this.scratch[0].getContext("2d").putImageData(image, 0, 0);
    const even = this.cellsOf(scene.grid).even;
    context.imageSmoothingEnabled = !even || px < size;
    context.drawImage(this.scratch[0], 0, 0, px, px);
    if (even && scene.grid <= 8 && px / scene.grid / density >= 24) {
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.font = `600 ${14 * density}px ${this.font}`;
      this.shown.share.forEach((share, b) => {
        const [x, y, w, h] = cell(px, scene.grid, b);
        context.fillStyle = share < 0.25 ? "#fff" : "#14110e";
        context.fillText(shareText(share), x + w / 2, y + h / 2 + density * 0.5);
      });
      return;
    }
    const n = even ? scene.grid : Math.max(1, Math.min(scene.grid, Math.floor(px / (MARK * density))));
    const marks = this.cellsOf(n);
    this.drawMarks(context, n, (b) => marks.fixed[b] + marks.free[b] * lam);
  }

  /** (1 - z) A + z B to rounding, pixel by pixel. */
  drawMix() {
    const { photos, out, flat, mask, lam } = this;
    const { size } = photos[0];
    const canvas = this.panel.mix.base;
    if (canvas.width !== size) canvas.width = canvas.height = size;
    const [a, b] = photos.map((photo) => photo.words);
    for (let i = 0; i < out.length; i++) {
      const share = mask[i] === FREE ? lam : mask[i] / WHOLE;
      const p = a[i];
      const q = b[i];
      const red = (p & 255) + ((q & 255) - (p & 255)) * share + 0.5;
      const green = ((p >> 8) & 255) + (((q >> 8) & 255) - ((p >> 8) & 255)) * share + 0.5;
      const blue = ((p >> 16) & 255) + (((q >> 16) & 255) - ((p >> 16) & 255)) * share + 0.5;
      out[i] = (255 << 24) | (blue << 16) | (green << 8) | red;
    }
    canvas.getContext("2d", { willReadFrequently: true }).putImageData(flat, 0, 0);
  }

  drawFocus() {
    const { block } = this;
    for (const name of PIXEL_PANELS) this.reticle(this.sheet(this.panel[name].top), block);
    this.drawCard(block);
  }

  // ---- the card

  drawCard(b) {
    const { scene, photos, cropPx } = this;
    const view = this.shown;
    this.drawCardHead(b, view.closest.known ? "the closest call" : "the most salient");
    const texts = { lam: this.lam.toFixed(2), share: view.share[b].toFixed(2) };
    const say = [];
    let line = 0;
    for (const row of scene.rows) {
      const v = row.values[b];
      if (row.format === "words") say.push(fill(row.labels[Math.round(v)], texts));
      else this.facts[line++].textContent = row.format === "percent" ? percent(v) : row.format === "label" ? row.labels[Math.round(v)] : minus(String(Number(v.toPrecision(3))));
    }
    this.facts[line].textContent = texts.share;
    this.$(".words").textContent = say.join(" ");
    [0, 1].forEach((q) => (this.crops[q].nextSibling.lastChild.textContent = percent(scene.blocks[q][b])));
    const { size } = photos[0];
    const [x, y, w, h] = cell(size, scene.grid, b);
    const side = Math.min(size, Math.max(w, h, size / CONTEXT));
    const keep = (start, length) => Math.max(0, Math.min(size - side, start + (length - side) / 2));
    const [left, top] = [keep(x, w), keep(y, h)];
    const zoom = cropPx / side;
    [photos[0].canvas, photos[1].canvas, this.panel.mix.base].forEach((source, i) => {
      const context = this.sheet(this.crops[i], cropPx);
      context.drawImage(source, left, top, side, side, 0, 0, cropPx, cropPx);
      if (side <= Math.max(w, h)) return;
      for (const [colour, wide] of [["#000", 3], ["#fff", 1.4]]) {
        context.strokeStyle = colour;
        context.lineWidth = wide * this.density;
        context.strokeRect((x - left) * zoom, (y - top) * zoom, w * zoom, h * zoom);
      }
    });
  }

  // ---- for tests and screen readers

  label() {
    this.tell({ over: this.shown.over.toFixed(6) });
  }

  announce() {
    if (this.dragging || !this.scene) return;
    const { scene, given } = this;
    const [a, b] = scene.pictures.map((p) => p.name);
    const { over, under } = this.shown;
    const kept = (letter) => this.panel[`s${letter}`].caption.lastChild.textContent;
    const guided = (q) => (scene.guide ? `${scene.guide.title}, ${"AB"[q]}, ${scene.guide.captions[q]}` : "");
    const alt = {
      A: `Picture A, ${a}`,
      B: `Picture B, ${b}`,
      sA: `Saliency of A, ${kept("A")}`,
      sB: `Saliency of B, ${kept("B")}`,
      gA: guided(0),
      gB: guided(1),
      z: `Mask of pixels: A shows more in ${percent(under, 0)}, B in ${percent(over, 0)}`,
      mix: `The mix: label A ${percent(1 - given)}, B ${percent(given)}`,
    };
    this.announceAs(alt, alt.z);
  }
}
