// The way in: a mount gets its stage, a feed or a shelf is taken over and hidden.

const SURFACES = { mixviz_stage: Stage, mixviz_pixels: PixelStage };

/** Takes a mount without pixels of its own out of the page's flow. */
function hide(parent) {
  const element = (parent.host ?? parent).closest(".stElementContainer, [data-testid=stElementContainer]");
  if (element) element.style.display = "none";
}

hub.open = (mount) => {
  const parent = mount.parentElement;
  const Kind = SURFACES[mount.name];
  if (Kind) {
    let stage = hub.stages.get(parent);
    if (!stage) hub.stages.set(parent, (stage = new Kind(parent)));
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
