// Hands a mount to the stage library, which travels once in a mount of its own: an update of the
// stage then carries a few kilobytes of data and not the whole program. Mounts may come in any order.
export default function (mount) {
  const hub = (window.mixvizStage ??= { waiting: new Map() });
  if (hub.open) return hub.open(mount);
  hub.waiting.set(mount.parentElement, mount);
  return () => (hub.close ? hub.close(mount.parentElement) : hub.waiting.delete(mount.parentElement));
}
