"""What a page asks for: pictures cut, explained and mixed, each remembered by names and numbers.

The only module that names a device. The classifier runs in the engine's one thread; a page waits
for it at points where a newer run of the page can take over. Keys hold names, digests and
numbers, never pixels, so that moving a knob finds its saliency where it lies.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import numpy as np
import streamlit as st
import torch
from cachetools import LRUCache
from numpy.typing import NDArray
from torch import Tensor

from mixviz import zoo
from mixviz.core.percentiles import PercentileChoice, search_percentiles
from mixviz.core.saliency import Explanation, explain, resize, spectral_residual
from mixviz.core.types import Pair
from mixviz.methods import METHODS
from mixviz.methods.base import MixTrace
from mixviz.samples import Picture, square_crop
from mixviz.spec import Params
from mixviz.ui.engine import Engine, SupersededError
from mixviz.zoo.layers import class_activation, features_at, layer_names, logits_from

T = TypeVar("T")

SOURCES: Mapping[str, str] = {
    "gradient": "gradient of the classifier",
    "spectral": "spectral residual, no classifier",
}


@dataclass(frozen=True)
class Framing:
    """Which square of which picture."""

    digest: str
    x: float = 0.5
    y: float = 0.5
    zoom: float = 1.0


@dataclass(frozen=True)
class Look:
    """A pair of pictures as a method is to see them.

    Attributes:
        a, b: the squares.
        size: pixels per side.
        model: slug of the classifier; for a visitor's own, with the digest of its weights.
        label_a, label_b: the class whose loss is explained; None for the predicted one.
        source: where the saliency comes from, a key of `SOURCES`.
    """

    a: Framing
    b: Framing
    size: int
    model: str
    label_a: int | None = None
    label_b: int | None = None
    source: str = "gradient"


@dataclass(frozen=True)
class Inputs:
    """What becomes of the pictures before anything looks at them.

    Attributes:
        stamp: names the change, for memories.
        change: the change, images (1, 3, h, w) to the same.
    """

    stamp: Hashable
    change: Callable[[Tensor], Tensor]


UNCHANGED = Inputs(None, lambda images: images)


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture through the classifier's eyes; batch axis of 1."""

    explanation: Explanation
    seconds: float


@dataclass(frozen=True, eq=False)
class SeenPair:
    """What a method needs of a pair, and what the classifier says of each picture."""

    pair: Pair
    a: Seen
    b: Seen
    class_names: tuple[str, ...]


class Counted:
    """A bounded memory of results that counts what it had to compute, for tests."""

    def __init__(self, size: int) -> None:
        self._held: LRUCache[Hashable, Any] = LRUCache(size)
        self._lock = threading.Lock()
        self.computed = 0

    def get(self, key: Hashable) -> Any | None:
        """Return what is remembered, or None."""
        with self._lock:
            return self._held.get(key)

    def put(self, key: Hashable, value: T) -> T:
        """Remember a value and return it."""
        with self._lock:
            self._held[key] = value
            self.computed += 1
        return value

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()


CROPS, NAMES, SEEN, CHANGED = Counted(128), Counted(16), Counted(96), Counted(32)
TRACES, PREDICTIONS = Counted(64), Counted(512)
MAPS, CHOICES, LOGITS = Counted(64), Counted(32), Counted(512)
# Methods that have mixed in this process. The first mix may load compiled code or torchvision,
# which takes LONG and says nothing of the method: it is timed again.
_LOADED: set[str] = set()
LONG = 0.1  # seconds
_CLASSIFIERS: LRUCache[str, zoo.Classifier] = LRUCache(8)  # all bundled ones at once


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """Start the one worker that owns the device."""
    if zoo.cpu_cores() <= 2:
        # Two OpenMP threads on a busy two-core machine wait for each other far longer than they
        # work.
        torch.set_num_threads(1)
    return Engine()


@st.cache_resource(show_spinner=False)
def device() -> torch.device:
    """Return the device that the classifier runs on."""
    return zoo.pick_device()


@st.cache_resource(show_spinner=False)
def device_words() -> str:
    """Name the device for people."""
    return zoo.device_words(device())


def yield_to_newer_run() -> None:
    """Stop this run of the page here when a newer one has begun; Streamlit raises at access."""
    st.session_state.get("kept")


def in_engine(lane: str, work: Callable[[], T], poll: Callable[[], None]) -> T:
    """Run work where the device lives; the visitor's newest request of a lane wins."""
    context = st.runtime.scriptrunner.get_script_run_ctx()
    visitor = context.session_id if context else "nobody"
    try:
        return engine().submit(visitor, work, lane=lane).wait(poll)
    except SupersededError:
        st.stop()  # a newer run of this visitor's page has asked


def _fetch(
    model: str, own: Mapping[str, zoo.Classifier], say: Callable[[float, str], None]
) -> None:
    """Fetch a classifier whose weights are not here, in the page's own thread.

    In the engine's, one visitor's download would keep all others waiting.
    """
    if model not in own and not zoo.CATALOGUE[model].path().exists():
        zoo.load(model, torch.device("cpu"), progress=say)


def classifier(model: str, own: Mapping[str, zoo.Classifier]) -> zoo.Classifier:
    """Return a classifier on the device; call in the engine's thread.

    Raises:
        ZooError: with one sentence for the visitor.
    """
    if model in own:
        return own[model]
    if model not in _CLASSIFIERS:
        _CLASSIFIERS[model] = zoo.load(model, device())
    return _CLASSIFIERS[model]


def crop(framing: Framing, size: int, pictures: Mapping[str, Picture]) -> NDArray[np.uint8]:
    """Cut the square out of its picture."""
    key = (framing, size)
    found: NDArray[np.uint8] | None = CROPS.get(key)
    if found is None:
        cut = square_crop(pictures[framing.digest], size, framing.x, framing.y, framing.zoom)
        found = CROPS.put(key, cut)
    return found


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Turn uint8 pixels (h, w, 3) into a batch of one in [0, 1]."""
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def _seen(images: Tensor, network: zoo.Classifier, label: int | None) -> Seen:
    start = time.perf_counter()
    labels = None if label is None else torch.tensor([label])
    found = explain(network, images.to(device()), labels)
    found = Explanation(*(part.cpu() for part in vars(found).values()))
    return Seen(found, time.perf_counter() - start)


def _saliency(seen: Seen, images: Tensor, source: str, key: Hashable) -> Tensor:
    """Return the saliency of a picture from where it is asked to come from."""
    if source == "gradient":
        return seen.explanation.saliency
    found: Tensor | None = MAPS.get((key, source))
    return MAPS.put((key, source), spectral_residual(images)) if found is None else found


def class_names(
    model: str,
    own: Mapping[str, zoo.Classifier],
    poll: Callable[[], None] = yield_to_newer_run,
    say: Callable[[float, str], None] = lambda share, words: None,
) -> tuple[str, ...]:
    """Return the names of a classifier's classes.

    Raises:
        ZooError: when the classifier is not to be had.
    """
    names: tuple[str, ...] | None = NAMES.get(model)
    if names is None:
        _fetch(model, own, say)
        names = NAMES.put(
            model, in_engine("look", lambda: classifier(model, own).class_names, poll)
        )
    return names


def layers(
    model: str,
    own: Mapping[str, zoo.Classifier],
    poll: Callable[[], None] = yield_to_newer_run,
) -> tuple[str, ...]:
    """Return the names of a classifier's layers, "input" first."""
    names: tuple[str, ...] | None = NAMES.get((model, "layers"))
    if names is None:
        found = in_engine("look", lambda: layer_names(classifier(model, own)), poll)
        names = NAMES.put((model, "layers"), found)
    return names


def look_at(
    look: Look,
    slug: str,
    params: Params,
    pictures: Mapping[str, Picture],
    own: Mapping[str, zoo.Classifier],
    poll: Callable[[], None] = yield_to_newer_run,
    say: Callable[[float, str], None] = lambda share, words: None,
    inputs: Inputs = UNCHANGED,
) -> SeenPair:
    """Explain both pictures of a pair; what is known already is not computed again.

    A method that adds noise before it looks (Puzzle Mix under attack) gets saliency and gradient
    of the noisy pictures.

    Raises:
        ZooError: when the classifier is not to be had.
        ValueError: when a label is not one of its classes.
    """
    images = [_input(framing, look.size, pictures, inputs) for framing in (look.a, look.b)]
    noise = METHODS[slug].noise((images[0], images[1]), params)
    noisy = images if noise is None else [x + k for x, k in zip(images, noise, strict=True)]
    stamps = [
        None if noise is None or not k.any() else hashlib.sha256(k.numpy().tobytes()).hexdigest()
        for k in (noise or images)
    ]
    keys = [
        (look.model, framing, look.size, label, stamp, inputs.stamp)
        for framing, label, stamp in zip(
            (look.a, look.b), (look.label_a, look.label_b), stamps, strict=True
        )
    ]

    def work() -> tuple[Seen, Seen]:
        network = classifier(look.model, own)
        seen = []
        for key, image, label in zip(keys, noisy, (look.label_a, look.label_b), strict=True):
            found = SEEN.get(key)
            if found is None:
                found = SEEN.put(key, _seen(image, network, label))
            seen.append(found)
        return seen[0], seen[1]

    names = class_names(look.model, own, poll, say)
    a: Seen | None = SEEN.get(keys[0])
    b: Seen | None = SEEN.get(keys[1])
    if a is None or b is None:
        a, b = in_engine("look", work, poll)
    s0, s1 = (
        _saliency(part, image, look.source, key)
        for part, image, key in zip((a, b), noisy, keys, strict=True)
    )
    pair = Pair(
        images[0],
        images[1],
        s0,
        s1,
        y0=a.explanation.label,
        y1=b.explanation.label,
        g0=a.explanation.gradient,
        g1=b.explanation.gradient,
    )
    return SeenPair(pair, a, b, names)


def _input(framing: Framing, size: int, pictures: Mapping[str, Picture], inputs: Inputs) -> Tensor:
    if inputs is UNCHANGED:
        return to_tensor(crop(framing, size, pictures))
    key = (framing, size, inputs.stamp)
    found: Tensor | None = CHANGED.get(key)
    if found is None:
        found = CHANGED.put(key, inputs.change(to_tensor(crop(framing, size, pictures))))
    return found


def complete(
    look: Look,
    slug: str,
    params: Params,
    pair: Pair,
    own: Mapping[str, zoo.Classifier],
    poll: Callable[[], None] = yield_to_newer_run,
    stamp: Hashable = None,
    chosen: tuple[Tensor, Tensor] | None = None,
) -> Pair | None:
    """Add to a pair what else a method needs: activation maps, feature maps, percentiles.

    None while the percentiles of RL-Mix have neither been `chosen` by a policy nor searched for;
    see `search`.

    Raises:
        ValueError: when the classifier has no such layer.
    """
    needs = set(METHODS[slug].needs)
    found: dict[str, Tensor] = {}
    if needs & {"q0", "q1"} and chosen is not None:
        found |= {"q0": chosen[0], "q1": chosen[1]}
    elif needs & {"q0", "q1"}:
        choice: PercentileChoice | None = CHOICES.get((look, slug, params, stamp))
        if choice is None:
            return None
        found |= {"q0": choice.q0, "q1": choice.q1}
    layer = getattr(params, "layer", 0)
    asked: dict[str, tuple[Hashable, Callable[[zoo.Classifier], Tensor]]] = {}
    for digit, framing, x, y in (("0", look.a, pair.x0, pair.y0), ("1", look.b, pair.x1, pair.y1)):
        where = (look.model, framing, look.size, stamp)
        if f"c{digit}" in needs:
            label = None if y is None else int(y[0])
            asked[f"c{digit}"] = (
                (*where, "activation", label),
                lambda network, x=x, y=y: class_activation(network, x, y),  # type: ignore[misc]
            )
        if f"f{digit}" in needs:
            asked[f"f{digit}"] = (
                (*where, "features", layer),
                lambda network, x=x: features_at(network, layer, x),  # type: ignore[misc]
            )
    missing = {name: part for name, part in asked.items() if MAPS.get(part[0]) is None}
    if missing:

        def work() -> None:
            network = classifier(look.model, own)
            for key, map_of in missing.values():
                MAPS.put(key, map_of(network).cpu())

        in_engine("maps", work, poll)
    found |= {name: cast(Tensor, MAPS.get(key)) for name, (key, _) in asked.items()}
    return replace(pair, **found)


def search(
    look: Look,
    slug: str,
    params: Params,
    pair: Pair,
    own: Mapping[str, zoo.Classifier],
    say: Callable[[int, int], None],
    poll: Callable[[], None] = yield_to_newer_run,
    stamp: Hashable = None,
) -> PercentileChoice:
    """Try every pair of percentiles for RL-Mix and remember the best.

    `say` is told the mixes tried and their number, in the page's own thread; what it raises ends
    the search.
    """
    key = (look, slug, params, stamp)
    found: PercentileChoice | None = CHOICES.get(key)
    if found is not None:
        return found

    def saliency_of(images: Tensor) -> Tensor:
        if look.source == "spectral":
            return spectral_residual(images)
        # One part at a time, so that other visitors of the engine get their turn.
        return in_engine(
            "search",
            lambda: explain(classifier(look.model, own), images.to(device())).saliency.cpu(),
            poll,
        )

    def mixes(q0: Tensor, q1: Tensor) -> Tensor:
        return METHODS[slug].mix(replace(pair, q0=q0, q1=q1), params).mixed

    choice = search_percentiles(saliency_of, pair.s0, pair.s1, mixes, on_progress=say)
    return CHOICES.put(key, choice)


def mix(
    look: Look, slug: str, params: Params, pair: Pair, stamp: Hashable = None
) -> tuple[MixTrace, float]:
    """Mix a pair and keep every step; return the trace and the seconds it took."""
    key = (look, slug, params, stamp)
    found: tuple[MixTrace, float] | None = TRACES.get(key)
    if found is None:
        for _ in range(1 if slug in _LOADED else 2):
            start = time.perf_counter()
            trace = METHODS[slug].mix(pair, params)
            seconds = time.perf_counter() - start
            if seconds < LONG:
                break
        _LOADED.add(slug)
        found = TRACES.put(key, (trace, seconds))
    return found


def predict_all(
    look: Look,
    mixes: Mapping[Hashable, MixTrace],
    own: Mapping[str, zoo.Classifier],
    poll: Callable[[], None] = yield_to_newer_run,
) -> dict[Hashable, Tensor]:
    """Return the logits (k,) of many mixes, all that are not known yet in one pass.

    What a method mixes inside the classifier goes on from there.
    """
    missing = {key: one for key, one in mixes.items() if LOGITS.get((look.model, key)) is None}
    if missing:

        def work() -> None:
            network = classifier(look.model, own)
            pictures = {key: one for key, one in missing.items() if one.inside is None}
            if pictures:
                batch = torch.cat(
                    [resize(one.mixed, network.input_size) for one in pictures.values()]
                )
                with torch.no_grad():
                    logits = network(batch.to(device())).float().cpu()
                for key, row in zip(pictures, logits, strict=True):
                    LOGITS.put((look.model, key), row)
            for key, one in missing.items():
                if one.inside is not None:
                    layer, features = one.inside
                    with torch.no_grad():
                        row = logits_from(network, layer, features.to(device()))[0]
                    LOGITS.put((look.model, key), row.float().cpu())

        in_engine("predict", work, poll)
    return {key: cast(Tensor, LOGITS.get((look.model, key))) for key in mixes}


def predict(
    look: Look,
    key: Hashable,
    images: Tensor,
    own: Mapping[str, zoo.Classifier],
    poll: Callable[[], None] = yield_to_newer_run,
) -> tuple[Tensor, float]:
    """Return the probabilities (k,) of one image and the seconds they took."""
    found: tuple[Tensor, float] | None = PREDICTIONS.get((look.model, key))
    if found is None:

        def work() -> tuple[Tensor, float]:
            start = time.perf_counter()
            network = classifier(look.model, own)
            probabilities = network.predict(images.to(device())).cpu()[0]
            return probabilities, time.perf_counter() - start

        found = PREDICTIONS.put((look.model, key), in_engine("predict", work, poll))
    return found


def digest_of(*parts: object) -> str:
    """Return a short name for what the parts say."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
