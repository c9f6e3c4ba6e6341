// The stage of masks of blocks: energy, moves, steps; λ moves through frames sent ahead.

const PLAY_MS = 600;
const SCENES_KEPT = 4;
const TERMS = ["saliency_0", "saliency_1", "label_smooth", "data_smooth", "prior", "transport"];
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

// ---------------------------------------------------------------- frames

hub.scenes ??= new Map(); // scene key -> Map(millionths of lambda -> frame)

const slot = (lam) => Math.round(lam * 1e6);

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

// ---------------------------------------------------------------- pixels and words of blocks

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

const FRACTIONS = { "1/2": "½", "1/3": "⅓", "2/3": "⅔", "1/4": "¼", "3/4": "¾", "1/5": "⅕", "2/5": "⅖", "3/5": "⅗", "4/5": "⅘", "1/6": "⅙", "5/6": "⅚", "1/8": "⅛", "3/8": "⅜", "5/8": "⅝", "7/8": "⅞" };
const gcd = (a, b) => (b ? gcd(b, a % b) : a);
function fraction(t, m) {
  if (t === 0 || t === m) return t ? "1" : "0";
  const g = gcd(t, m);
  return FRACTIONS[`${t / g}/${m / g}`] ?? (t / m).toFixed(2).slice(1);
}
const milli = (v) => (Number.isFinite(v) ? minus((1000 * v).toFixed(1).replace(/^-(0\.0)$/, "$1")) : "∞");
const signed = (v) => (Number.isFinite(v) && v >= -5e-5 ? "+" : "") + milli(v);
const NUMBERS = ["None", "One", "Two", "Three", "Four"];

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

// ---------------------------------------------------------------- the stage

const PANELS = ["A", "B", "sA", "sB", "z", "mA", "mB", "mix"];

const PLAY = '<svg class="go" viewBox="0 0 10 12" aria-hidden="true"><path d="M1 1v10l8-5z"/></svg>';
const stepper = (id, name) =>
  `<button class="btn sq" data-do="${id}-prev" aria-label="previous ${name}">‹</button>` +
  `<button class="btn sq" data-do="${id}-play" aria-label="play every ${name}" aria-pressed="false">${PLAY}</button>` +
  `<button class="btn sq" data-do="${id}-next" aria-label="next ${name}">›</button>`;

const HTML = frameHtml({
  hint: "Stage. Arrow keys move the block, Enter pins it, Escape releases it, Space plays the moves, hold X for the bare photographs, question mark for help.",
  lanes: `
      ${head(1, "Pictures")}${lanePair(1, "")}${foot(1, '<button class="btn" data-do="swap">Swap A, B <kbd>S</kbd></button>')}
      ${head(2, "Saliency")}${lanePair(2, "s")}${foot(2, "", "maps")}
      ${head(3, "Mask")}${panelHtml("z", "grid-column:3", "")}${foot(3, stepper("swap", "swap move"))}
      ${head(4, "Move")}${lanePair(4, "m")}${foot(4, `<button class="btn" data-do="play">${PLAY}Play <kbd class="opt">Space</kbd></button>`)}
      ${head(5, "Mix")}${panelHtml("mix", "grid-column:5", "")}${foot(5, "<span>Hold <kbd>X</kbd> bare photos</span>", "hint")}
      <div class="tip" hidden></div>
`,
  table: '<table class="costs"><thead></thead><tbody></tbody></table>',
  below: `<div class="eq" role="group" aria-label="The objective with its current values">${FORMULAS.map(([name, words, math]) => `<div data-term="${name}"${name === "total" ? "" : ' tabindex="0"'}><span class="nm">${words}</span><span class="fm">${math}</span><span class="vl"></span></div>`).join("")}</div>`,
  keys: [
    ["<kbd>←</kbd> <kbd>↑</kbd> <kbd>→</kbd> <kbd>↓</kbd>", "move the block; on λ, change it"],
    ["<kbd>Enter</kbd> or click", "pin the block"],
    ["<kbd>Esc</kbd>", "release it, leave the steps"],
    ["<kbd>Space</kbd>", "play the moves"],
    ["hold <kbd>X</kbd>", "bare photographs"],
    ["<kbd>S</kbd>", "swap A and B"],
    ["<kbd>Page Up</kbd> <kbd>Home</kbd> <kbd>End</kbd>", "λ in larger steps"],
  ],
});

class Stage extends Surface {
  constructor(parent) {
    super(parent);
    this.frame = null;
    this.steps = [];
    this.step = null; // { kind, index }
    this.arrow = this.term = null;
    this.progress = null; // 0 to 1 while the moves play
    this.ghosts = [];
  }

  get html() {
    return HTML;
  }

  get panels() {
    return PANELS;
  }

  get lam() {
    return this.frame.lam;
  }

  get given() {
    return this.shown.weight;
  }

  get closest() {
    return this.shown.closest;
  }

  get status() {
    return this.frame.status;
  }

  get notices() {
    return this.frame.notices;
  }

  // ---- life

  build() {
    super.build();
    this.cells = Object.fromEntries(FORMULAS.map(([name]) => [name, this.$(`.eq [data-term="${name}"]`)]));
    this.listenToTerms();
  }

  close() {
    super.close();
    clearInterval(this.walking);
  }

  // ---- what comes from the server

  receive(bytes) {
    const [header, buffer] = unpack(bytes);
    const scene = readScene(header.scene, buffer);
    const frame = readFrame(header.frame, scene.grid, scene.levels, buffer);
    const steps = header.steps.map((s) => readSteps(s, scene.grid, buffer));
    framesOf(scene.key).set(slot(frame.lam), frame);
    this.next = { scene, frame, steps, header };
    this.adopt();
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
    const repainted = this.takePictures(scene);
    if (repainted === null) return;
    this.next = null;
    const first = !this.scene;
    const drawn = this.overlay;
    const changed = scene.key !== this.scene?.key;
    if (changed && this.scene) this.ghosts = this.threads();
    const resized = scene.grid !== this.scene?.grid;
    this.scene = scene;
    const answered = this.isAnswer(header, first);
    if (changed) {
      this.hover = this.arrow = null;
      if (resized) this.pinned = this.cursor = null;
    }
    this.steps = steps;
    this.stepsAt = slot(frame.lam);
    if (answered) {
      const [block, step, overlay] = ["block", "step", "overlay"].map((name) => this.named(header, first, name));
      this.wanted = null;
      this.look(frame);
      this.committed.lam = frame.lam;
      this.takeBlock(block);
      if (step !== undefined) {
        const walk = steps.find((s) => s.kind === step?.[0]);
        this.step = walk ? { kind: walk.kind, index: Math.min(step[1], walk.captions.length - 1) } : null;
        this.committed.step = step;
      }
      this.takeOverlay(overlay);
    } else {
      const own = this.known().get(slot(this.frame.lam));
      if (!own) {
        this.wanted ??= Math.round(this.frame.lam * LAST);
        // What rests in the hand is still the visitor's lambda, not that of the picture shown meanwhile.
        this.asksServer = true;
      }
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

  get busy() {
    return super.busy || "step" in this.timers;
  }

  // ---- lambda

  known() {
    return framesOf(this.scene.key);
  }

  /** The label given at each lambda i / 50 that can be drawn now. */
  weights() {
    const known = this.known();
    const found = [];
    for (let i = 0; i <= LAST; i++) {
      const frame = known.get(slot(i / LAST));
      if (frame) found[i] = frame.weight;
    }
    return found;
  }

  get complete() {
    return this.indices().length > LAST;
  }

  threads() {
    return Object.assign([...this.ghosts], this.weights());
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

  // ---- drawing

  drawScene() {
    const { scene } = this;
    super.drawScene();
    this.panel.z.caption.lastChild.textContent = scene.solver;
    this.panel.z.caption.title = `solver: ${scene.solver}`;
    for (const [name, unit] of Object.entries(UNIT_OF)) {
      this.cells[name].title = `${LETTER[unit]}${unit === "xi" ? "" : " in these units"} = ${Number(scene.units[unit].toPrecision(4))}`;
    }
    this.drawCardFrame();
  }

  drawThreads() {
    super.drawThreads();
    if (this.complete) this.ghosts = [];
  }

  drawFrame() {
    const view = this.shown;
    const { frame } = this;
    this.drawMask(view);
    this.drawMoved();
    this.drawMix(view);
    const [a, shared, b] = view.counts;
    const swap = this.step?.kind === "swap" ? this.step : null;
    this.drawUnder("z", a, b, `${shared} shared`);
    this.panel.z.caption.firstChild.textContent = swap ? `move ${swap.index + 1} of ${this.walk("swap").captions.length}` : "z, share of B";
    this.drawUnder("mix", percent(1 - view.weight, 0), percent(view.weight, 0), swap ? "label so far" : "label given");
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
    this.drawGauge();
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
    const { block, scene } = this;
    for (const name of PANELS) {
      const context = this.sheet(this.panel[name].top);
      const q = LANE[name];
      if (name[0] === "m" && q !== undefined && this.progress === null && !this.bare) this.drawArrows(context, view, q);
      this.reticle(context, block);
      const from = q === undefined || name[0] === "m" ? -1 : view.source[q][block];
      if (from >= 0 && from !== block) this.reticle(context, from, true);
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
    this.drawCardHead(b, view.closest.known ? "the closest call" : "the most salient");
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

  // ---- status, steps

  drawStatus() {
    const { step } = this;
    if (!step) return super.drawStatus();
    const walk = this.walk(step.kind);
    super.drawStatus({
      lead: `${step.kind === "swap" ? "Swap move" : "Round"} ${step.index + 1} of ${walk.captions.length}`,
      text: `${walk.captions[step.index]} Objective ${minus(walk.objective[step.index].toFixed(4))}.`,
    });
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

  // ---- for tests and screen readers

  label() {
    const view = this.shown;
    this.tell({
      step: this.step ? `${this.step.kind}:${this.step.index}` : "",
      total: view.terms ? view.terms.total.toFixed(6) : "",
      moved: view.moves.map((m) => m.length).join(","),
      playing: String(this.progress !== null || Boolean(this.walking)),
    });
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
    this.announceAs(alt, alt.z);
  }

  // ---- hands

  listenToTerms() {
    const on = (...args) => this.on(...args);
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

  leave() {
    super.leave();
    this.arrow = null;
    this.$(".tip").hidden = true;
  }

  act(what, part) {
    super.act(what, part);
    if (what === "play") this.play();
    if (part === "prev") this.stepBy(what, -1);
    if (part === "next") this.stepBy(what, 1);
    if (part === "play") this.walkAll(what);
  }

  escape() {
    if (!this.helping && this.step) return this.goStep(this.step.kind, -1);
    super.escape();
  }
}
