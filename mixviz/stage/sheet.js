// The contact sheet. Tiles are buttons; all pictures share one zoom and one place, so that the same
// spot is compared everywhere. The difference is drawn by the browser, by blending.

const VIEWS = { mix: "Mix", mask: "Mask", difference: "Difference" };
const LARGEST = 8;
const sheets = new WeakMap();
const percent = (v) => Math.round(100 * v);
const escape = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

class Sheet {
  constructor(root) {
    this.root = root;
    this.zoom = 1;
    this.at = [0.5, 0.5];
    root.innerHTML = `<div class="bar"><div class="seg" role="group" aria-label="What the tiles show">${Object.entries(VIEWS)
      .map(([view, words]) => `<button data-view="${view}">${words}</button>`)
      .join("")}</div><label>Zoom <input type="range" min="0" max="3" step="0.25" value="0" aria-label="Zoom of all tiles"><output></output></label>
      <p class="hint">Wheel or slider zooms all, drag moves all, click pins one.</p></div><div class="groups"></div>`;
    root.addEventListener("click", (e) => this.click(e));
    root.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    root.addEventListener("pointerdown", (e) => this.grab(e));
    root.addEventListener("pointermove", (e) => this.drag(e));
    root.addEventListener("keydown", (e) => this.key(e));
    root.querySelector("input").addEventListener("input", (e) => this.scale(2 ** Number(e.target.value)));
  }

  update({ data, setStateValue }) {
    this.send = setStateValue;
    const page = getComputedStyle(this.root).getPropertyValue("--st-background-color").trim();
    const [r, g, b] = [1, 3, 5].map((i) => parseInt(page.slice(i, i + 2), 16));
    this.root.dataset.theme = 0.299 * r + 0.587 * g + 0.114 * b < 128 ? "dark" : "light";
    const groups = JSON.stringify(data.groups);
    const same = groups === this.groups && data.pinned === this.pinned;
    const focused = this.root.getRootNode().activeElement?.dataset?.slug;
    this.groups = groups;
    this.data = data;
    this.view = data.view;
    this.pinned = data.pinned;
    // The answer to a click brings what is drawn already.
    if (same) return this.paint();
    this.draw();
    if (focused) this.root.querySelector(`[data-slug="${focused}"]`)?.focus({ preventScroll: true });
  }

  tiles() {
    return this.data.groups.flatMap(([, tiles]) => tiles);
  }

  draw() {
    const pin = this.tiles().find((t) => t.slug === this.pinned && t.mix);
    this.root.querySelector(".groups").innerHTML = this.data.groups
      .map(([title, tiles]) => `<section style="--count:${tiles.length}"><h4>${escape(title)}</h4><div class="tiles">${tiles.map((t) => this.tile(t, pin)).join("")}</div></section>`)
      .join("");
    this.paint();
  }

  tile(t, pin) {
    const name = `<b>${escape(t.title)}</b><small>${escape(t.words)}</small>`;
    if (t.waiting) return `<div class="tile waiting" data-slug="${t.slug}"><span class="name">${name}</span><span class="frame"><em>${escape(t.waiting)}</em></span></div>`;
    const [a, b] = t.weights;
    const sum = Math.abs(a + b - 1) > 0.005 ? `, sum ${(a + b).toFixed(2)}` : "";
    const kept = t.kept[0] + t.kept[1];
    const gap = pin ? percent(kept) - percent(pin.kept[0] + pin.kept[1]) : 0;
    const change = !pin ? "" : t === pin ? "<b>pinned</b>" : `${gap > 0 ? "+" : gap < 0 ? "−" : "±"}${Math.abs(gap)}`;
    const words = `${t.title}: label A ${percent(a)} percent, B ${percent(b)} percent${sum}; ${t.contract}; keeps ${percent(t.kept[0])} of A's saliency and ${percent(t.kept[1])} of B's`;
    const under = pin && t !== pin ? `<img class="under" src="${pin.mix}" alt="">` : "";
    return `<button class="tile" data-slug="${t.slug}" aria-pressed="${t === pin}" aria-label="${escape(words)}"><span class="name">${name}</span>
      <span class="frame"><img class="mix" src="${t.mix}" alt="" draggable="false"><img class="mask" src="${t.mask}" alt="" draggable="false">${under}</span>
      <span class="weights"><i class="a" style="flex:${a}"></i><i class="b" style="flex:${b}"></i><i style="flex:${Math.max(0, 1 - a - b)}"></i></span>
      <span class="line"><span><span class="At">A ${percent(a)}</span> · <span class="Bt">B ${percent(b)}</span></span><span>${sum.slice(2)}</span></span>
      <span class="line"><span class="soft">${escape(t.contract)}</span></span>
      <span class="line"><span>keeps ${percent(t.kept[0])} + ${percent(t.kept[1])}</span><span>${change}</span></span></button>`;
  }

  /** What changes without new tiles: the view, the zoom, and what tests look at. */
  paint() {
    const has = this.tiles().some((t) => t.slug === this.pinned && t.mix);
    const view = this.view === "difference" && !has ? "mix" : this.view;
    const reach = 50 / this.zoom;
    this.at = this.at.map((v) => Math.min(1 - reach / 100, Math.max(reach / 100, v)));
    const style = this.root.style;
    style.setProperty("--zoom", this.zoom);
    style.setProperty("--x", `${(0.5 - this.at[0]) * 100 * this.zoom}%`);
    style.setProperty("--y", `${(0.5 - this.at[1]) * 100 * this.zoom}%`);
    Object.assign(this.root.dataset, {
      view,
      pinned: has ? this.pinned : "",
      zoom: this.zoom.toFixed(2),
      place: this.at.map((v) => v.toFixed(3)).join(","),
      tiles: String(this.tiles().filter((t) => t.mix).length),
      waiting: String(this.tiles().filter((t) => t.waiting).length),
      ready: "true",
    });
    for (const button of this.root.querySelectorAll("button[data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === view));
      if (button.dataset.view === "difference") {
        button.disabled = !has;
        button.title = has ? "What differs from the pinned tile" : "Pin a tile first: click it";
      }
    }
    this.root.querySelector("input").value = Math.log2(this.zoom);
    this.root.querySelector("output").textContent = `${this.zoom.toFixed(this.zoom % 1 ? 1 : 0)}×`;
  }

  scale(zoom, at = this.at) {
    this.zoom = Math.min(LARGEST, Math.max(1, zoom));
    this.at = at;
    this.paint();
  }

  wheel(e) {
    const frame = e.target.closest?.(".frame");
    if (!frame || (e.deltaY > 0 && this.zoom === 1)) return;
    e.preventDefault();
    const box = frame.getBoundingClientRect();
    const spot = [(e.clientX - box.x) / box.width - 0.5, (e.clientY - box.y) / box.height - 0.5];
    const zoom = Math.min(LARGEST, Math.max(1, this.zoom * 2 ** (-e.deltaY / 400)));
    // The spot under the pointer stays where it is.
    this.scale(zoom, this.at.map((v, k) => v + spot[k] / this.zoom - spot[k] / zoom));
  }

  grab(e) {
    const frame = e.target.closest?.(".frame");
    this.held = frame && e.button === 0 ? { x: e.clientX, y: e.clientY, at: this.at, side: frame.clientWidth } : null;
    this.dragged = false;
  }

  drag(e) {
    if (!this.held || !(e.buttons & 1)) return;
    const by = [e.clientX - this.held.x, e.clientY - this.held.y];
    if (Math.hypot(...by) < 4 && !this.dragged) return;
    this.dragged = true;
    this.at = this.held.at.map((v, k) => v - by[k] / this.held.side / this.zoom);
    this.paint();
  }

  click(e) {
    const view = e.target.closest("button[data-view]")?.dataset.view;
    if (view) {
      this.view = view;
      this.send("view", view);
      return this.paint();
    }
    const tile = e.target.closest("button.tile");
    if (!tile || this.dragged) return;
    this.pinned = this.pinned === tile.dataset.slug ? "" : tile.dataset.slug;
    this.send("pinned", this.pinned);
    this.draw();
    this.root.querySelector(`[data-slug="${tile.dataset.slug}"]`)?.focus({ preventScroll: true });
  }

  key(e) {
    const by = { ArrowRight: 1, ArrowLeft: -1, "]": 1, "[": -1 }[e.key];
    const tiles = [...this.root.querySelectorAll("button.tile")];
    const at = tiles.indexOf(e.target.closest?.("button.tile"));
    if (by && at >= 0) {
      e.preventDefault();
      tiles[(at + by + tiles.length) % tiles.length].focus();
    } else if (e.key === "+" || e.key === "-") this.scale(this.zoom * (e.key === "+" ? 2 : 0.5));
    else if (e.key === "Escape" && this.pinned) {
      this.pinned = "";
      this.send("pinned", "");
      this.draw();
    }
  }
}

export default function (mount) {
  const root = mount.parentElement.querySelector(".sheet");
  if (!sheets.has(root)) sheets.set(root, new Sheet(root));
  sheets.get(root).update(mount);
}
