"""From the controls to a pair the methods can mix: the way every page goes first."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import streamlit as st

from mixviz import zoo
from mixviz.samples import Picture
from mixviz.spec import Params
from mixviz.ui import classifier, compute, pictures
from mixviz.ui.compute import Framing, Look, SeenPair
from mixviz.ui.engine import EngineError

SHOW_PROGRESS_AFTER = 0.3  # seconds


@dataclass(frozen=True, eq=False)
class Bench:
    """A pair on the bench.

    Attributes:
        look: how it is looked at.
        seen: what was seen.
        names: what the pictures are called.
        held: the pictures by digest.
    """

    look: Look
    seen: SeenPair
    names: tuple[str, str]
    held: Mapping[str, Picture]


def _look(model: str) -> tuple[Look, dict[str, Picture], tuple[str, str]]:
    chosen = {side: pictures.chosen(side) for side in pictures.SIDES}
    held = {picture_id: pictures.picture(picture_id) for picture_id in chosen.values()}
    by_digest = {held[picture_id].digest: held[picture_id] for picture_id in held}
    framings = {
        side: Framing(held[picture_id].digest, *pictures.framing(side))
        for side, picture_id in chosen.items()
    }
    look = Look(
        framings["a"],
        framings["b"],
        pictures.size(),
        model,
        classifier.label("a"),
        classifier.label("b"),
        classifier.source(),
    )
    return look, by_digest, (pictures.name_of(chosen["a"]), pictures.name_of(chosen["b"]))


class _Waiting:
    """What a visitor sees while the classifier works: nothing at first, then words."""

    def __init__(self) -> None:
        self._place = st.empty()
        self._since = time.monotonic()
        self._said = False

    def say(self, share: float, words: str) -> None:
        """Show the progress of a download; a newer run of the page ends it here."""
        compute.yield_to_newer_run()
        self._place.progress(min(max(share, 0.0), 1.0), words)

    def poll(self) -> None:
        """Say that the classifier works, when it takes long enough to be noticed."""
        compute.yield_to_newer_run()
        if not self._said and time.monotonic() - self._since >= SHOW_PROGRESS_AFTER:
            self._said = True
            self._place.progress(0.5, "The classifier is looking at the pictures …")

    def done(self) -> None:
        """Take the words away."""
        self._place.empty()


def prepare(slug: str, params: Params) -> Bench | None:
    """Look at the chosen pair; None, with a sentence on the page, when nothing can."""
    waiting = _Waiting()
    model = classifier.model()
    for attempt in (model, classifier.BUNDLED):
        try:
            classes = compute.class_names(attempt, classifier.own(), waiting.poll, waiting.say)
            classifier.settle_labels(len(classes))
            look, held, names = _look(attempt)
            seen = compute.look_at(
                look, slug, params, held, classifier.own(), waiting.poll, waiting.say
            )
        except zoo.ZooError as problem:
            waiting.done()
            if attempt == classifier.BUNDLED:
                st.error(str(problem))
                return None
            classifier.fall_back(str(problem))
            continue
        except (ValueError, EngineError) as problem:
            waiting.done()
            st.error(str(problem))
            return None
        waiting.done()
        return Bench(look, seen, names, held)
    return None
