// Measures a page from inside, where a visitor is: no round trip to the program that drives it.
(() => {
  const bench = (window.mixvizBench = { at: {}, moves: [], received: 0, sent: 0, messages: 0 });
  const size = (data) => data.byteLength ?? data.size ?? data.length;

  window.WebSocket = class extends WebSocket {
    constructor(...rest) {
      super(...rest);
      this.addEventListener("message", (e) => {
        bench.received += size(e.data);
        bench.messages += 1;
      });
    }
    send(data) {
      bench.sent += size(data);
      super.send(data);
    }
  };

  const stage = () => [...(window.mixvizStage?.stages?.values() ?? [])][0]?.root;

  // ---- the first visit: milliseconds since the page was asked for
  const milestones = {
    title: () => document.querySelector("h1.mv-title"),
    controls: () => document.querySelector("[data-testid=stSidebar] [data-testid=stSelectbox]"),
    complete: () => {
      if (stage()) return stage().dataset.ready === "true";
      const images = [...(document.querySelector("[data-first]")?.querySelectorAll("img") ?? [])];
      const drawn = images.length === 6 && images.every((image) => image.complete && image.naturalWidth);
      return drawn && document.querySelector(".mv-weights");
    },
    sweep: () => stage()?.dataset.frames === "51",
  };
  const look = () => {
    for (const [name, reached] of Object.entries(milestones)) {
      if (bench.at[name] === undefined && reached()) bench.at[name] = performance.now();
    }
    if (bench.at.sweep === undefined) requestAnimationFrame(look);
  };
  requestAnimationFrame(look);

  // ---- a knob: from the key to the first frame after the stage shows another scene
  bench.arm = () => {
    const root = stage();
    const before = root.dataset.scene;
    const move = { key: null, picture: null, sweep: null, received: -bench.received, messages: -bench.messages };
    const onKey = () => {
      move.key = performance.now();
    };
    window.addEventListener("keydown", onKey, { capture: true, once: true });
    const watch = new MutationObserver(() => {
      if (root.dataset.scene === before) return;
      if (move.drawn === undefined) {
        move.drawn = true;
        requestAnimationFrame(() => {
          move.picture = performance.now() - move.key;
        });
      }
      if (root.dataset.frames === "51" && move.sweep === null) {
        move.sweep = performance.now() - move.key;
        move.received += bench.received;
        move.messages += bench.messages;
        watch.disconnect();
      }
    });
    watch.observe(root, { attributes: true, attributeFilter: ["data-scene", "data-total", "data-frames"] });
    bench.moves.push(move);
    bench.move = move;
  };

  // ---- a scrub: from the input to the first frame after the stage stands at another λ
  bench.scrub = () => {
    const root = stage();
    const hub = window.mixvizStage;
    hub.draws.length = 0;
    const scrub = (bench.scrubbed = { waits: [], sent: -bench.sent, draws: hub.draws });
    let since = null;
    for (const name of ["keydown", "pointermove"]) {
      window.addEventListener(name, () => (since ??= performance.now()), { capture: true });
    }
    new MutationObserver(() => {
      if (since === null) return;
      const began = since;
      since = null;
      requestAnimationFrame(() => scrub.waits.push(performance.now() - began));
    }).observe(root, { attributes: true, attributeFilter: ["data-lam"] });
  };
})();
