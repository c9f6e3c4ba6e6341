"""The stage: the pictures, the mask, the moves, the mix, and λ to scrub them by.

One canvas component in plain JavaScript. `show` draws a mask of blocks; `feed` sends the other λ
of the same scene, so that scrubbing needs no server. `show_pixels` draws a mask of pixels, whole
for every λ. `shelf` sends encoded pictures once. They meet in the browser by scene key and digest,
in any order.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from mixviz.stage.scene import (
    OVERLAYS,
    STEP_KINDS,
    TERMS,
    UNITS,
    CardRow,
    Frame,
    Guide,
    Notice,
    Picture,
    PixelScene,
    Saliency,
    Scene,
    StageResult,
    Steps,
)
from mixviz.stage.wire import pack_arrays, pack_feed, pack_pixels, pack_shelf, pack_show

__all__ = [
    "OVERLAYS",
    "STEP_KINDS",
    "TERMS",
    "UNITS",
    "CardRow",
    "Frame",
    "Guide",
    "Notice",
    "Picture",
    "PixelScene",
    "Saliency",
    "Scene",
    "StageResult",
    "Steps",
    "feed",
    "read",
    "shelf",
    "show",
    "show_pixels",
]

_HERE = Path(__file__).parent
_BOOT = (_HERE / "boot.js").read_text(encoding="utf-8")
_CSS = (_HERE / "stage.css").read_text(encoding="utf-8")
# One program in four files, in the order in which they are to be read.
_PARTS = ("canvas.js", "stage.js", "pixels.js", "mounts.js")
_library = st.components.v2.component(
    "mixviz_library", js="\n".join((_HERE / part).read_text(encoding="utf-8") for part in _PARTS)
)
_stage = st.components.v2.component("mixviz_stage", js=_BOOT)
_pixels = st.components.v2.component("mixviz_pixels", js=_BOOT)
_feed = st.components.v2.component("mixviz_feed", js=_BOOT)
_shelf = st.components.v2.component("mixviz_shelf", js=_BOOT)

_STATES = ("lam", "block", "step", "overlay")


def _state(key: str) -> Mapping[str, Any]:
    held = st.session_state.get(key)
    return held if isinstance(held, Mapping) else {}


def _value(state: Mapping[str, Any], name: str) -> Any:
    held = state.get(name)
    return held.get("value") if isinstance(held, Mapping) else None


def _count(state: Mapping[str, Any]) -> int:
    """The number of the browser's last commit that reached us."""
    held = [state.get(name) for name in _STATES]
    return max((int(h.get("count", 0)) for h in held if isinstance(h, Mapping)), default=0)


def _result(state: Mapping[str, Any]) -> StageResult:
    """What the state holds, with anything a forged message could carry left out."""
    lam, block, step = (_value(state, name) for name in ("lam", "block", "step"))
    overlay, action = _value(state, "overlay"), state.get("action")
    is_number = isinstance(lam, int | float) and not isinstance(lam, bool)
    is_block = isinstance(block, list) and len(block) == 2 and all(type(v) is int for v in block)
    is_step = (
        isinstance(step, list)
        and len(step) == 2
        and step[0] in STEP_KINDS
        and type(step[1]) is int
        and step[1] >= 0
    )
    return StageResult(
        lam=min(1.0, max(0.0, float(lam))) if is_number and lam == lam else None,
        block=(block[0], block[1]) if is_block and min(block) >= 0 else None,
        step=(step[0], step[1]) if is_step else None,
        overlay=overlay if overlay in OVERLAYS else None,
        action=action if isinstance(action, str) else None,
    )


def read(*, key: str = "stage") -> StageResult:
    """What the visitor last did on the stage, to be read before `show` in the same run.

    Values stay until the visitor changes them; `action` lives for one run.
    """
    return _result(_state(key))


def _tell(
    key: str, event: str, on_change: Callable[[StageResult], None] | None
) -> Callable[[], None]:
    def changed() -> None:
        if on_change is None:
            return
        result = _result(_state(key))
        # A λ committed long ago is no news when a block is pinned.
        on_change(
            replace(
                result,
                lam=result.lam if event == "lam" else None,
                overlay=result.overlay if event == "overlay" else None,
            )
        )

    return changed


def show(
    scene: Scene,
    frame: Frame,
    steps: Sequence[Steps] = (),
    *,
    key: str = "stage",
    step: tuple[str, int] | None = None,
    block: tuple[int, int] | None = None,
    overlay: str | None = None,
    on_change: Callable[[StageResult], None] | None = None,
) -> StageResult:
    """Draw `scene` at `frame` and return what the visitor did.

    The browser keeps its own λ, block, step and overlay while the visitor is ahead of the
    server; what is passed here counts once the visitor's last commit has been answered.

    Args:
        scene: what does not change with λ.
        frame: the λ to show.
        steps: the steps of the algorithms at this λ, if they are to be walked through.
        key: names this stage; its state is `st.session_state[key]`.
        step: the step to stand at; None leaves it to the visitor, as for the next two.
        block: the block to pin.
        overlay: how saliency is drawn, one of `OVERLAYS`.
        on_change: called before the rerun when the visitor changed something; the place to
            carry it into the page's own state. `lam` and `overlay` are set only when they are
            what changed; `block` and `step` are as they now stand.

    Raises:
        ValueError: an array has the wrong shape or holds NaN, or `overlay` is unknown.
    """
    if overlay is not None and overlay not in OVERLAYS:
        raise ValueError(f"overlay must be one of {OVERLAYS}, got {overlay!r}")

    own = _result(_state(key))
    _library(key=f"{key}-library", data={"css": _CSS})
    state = _stage(
        key=key,
        data=pack_show(
            scene,
            frame,
            steps,
            {
                "seen": _count(_state(key)),
                "step": list(step) if step else None,
                "block": list(block) if block else None,
                "overlay": overlay,
                "own": {"step": own.step, "block": own.block, "overlay": own.overlay},
            },
        ),
        on_lam_change=_tell(key, "lam", on_change),
        on_block_change=_tell(key, "block", on_change),
        on_step_change=_tell(key, "step", on_change),
        on_overlay_change=_tell(key, "overlay", on_change),
        on_action_change=_tell(key, "action", on_change),
    )
    return _result(state)


def show_pixels(
    scene: PixelScene,
    *,
    lam: float,
    key: str = "pixels",
    block: tuple[int, int] | None = None,
    overlay: str | None = None,
    on_change: Callable[[StageResult], None] | None = None,
) -> StageResult:
    """Draw `scene` at `lam` and return what the visitor did; pictures come by `shelf`.

    Args:
        scene: the pair and its mask.
        lam: the λ to show; it counts once the visitor's last commit has been answered.
        key: names this stage; its state is `st.session_state[key]`.
        block: the cell to pin; None leaves it to the visitor, as for the next.
        overlay: how saliency is drawn, one of `OVERLAYS`.
        on_change: as for `show`.

    Raises:
        ValueError: an array has the wrong shape or holds NaN, `lam` is outside 0 to 1, or
            `overlay` is unknown.
    """
    if overlay is not None and overlay not in OVERLAYS:
        raise ValueError(f"overlay must be one of {OVERLAYS}, got {overlay!r}")
    own = _result(_state(key))
    view = {
        "seen": _count(_state(key)),
        "block": list(block) if block else None,
        "overlay": overlay,
        "own": {"block": own.block, "overlay": own.overlay},
    }
    _library(key=f"{key}-library", data={"css": _CSS})
    _shelf(key=f"{key}-arrays", data=pack_arrays(scene))
    state = _pixels(
        key=key,
        data=pack_pixels(scene, lam, view),
        on_lam_change=_tell(key, "lam", on_change),
        on_block_change=_tell(key, "block", on_change),
        on_overlay_change=_tell(key, "overlay", on_change),
        on_action_change=_tell(key, "action", on_change),
    )
    return _result(state)


def feed(scene_key: str, frames: Sequence[Frame], *, key: str) -> None:
    """Send more λ of the scene called `scene_key`; takes no room on the page.

    Send them in a few chunks under different keys: an unchanged chunk is not sent again.
    """
    _feed(key=key, data=pack_feed(scene_key, frames))


def shelf(pictures: Iterable[Picture | Saliency], *, key: str = "shelf") -> None:
    """Send encoded pictures and saliency maps; takes no room on the page.

    An unchanged shelf is not sent again. Give what changes apart its own key.
    """
    _shelf(key=key, data=pack_shelf(pictures))
