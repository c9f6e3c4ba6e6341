"""A page with the stage and nothing else, on a small Puzzle Mix of its own.

The numbers are consistent (terms sum, plans are permutations) and computed in plain NumPy, so the
stage is tested without the solvers. Query parameters: grid, levels, xi, chunks (how many feed
chunks are sent at once), notice, steps, contract. With pixels=patches, shares or box the page
shows the stage of pixels instead.
"""

import hashlib
import io
import json
from dataclasses import asdict, replace
from functools import lru_cache

import numpy as np
import streamlit as st
from PIL import Image
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln
from skimage import data as photographs
from sklearn.datasets import load_sample_image

from mixviz import stage

LAMBDAS = [i / 50 for i in range(51)]
SIDE = 224


@lru_cache
def photograph(name):
    """A square RGB photograph as uint8 (SIDE, SIDE, 3)."""
    load = {
        "Cat": photographs.chelsea,
        "Dahlia": lambda: load_sample_image("flower.jpg"),
        "Coffee": photographs.coffee,
    }
    image = Image.fromarray(load[name]())
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if name == "Dahlia":
        left, top, side = 130, 20, 400
    image = image.crop((left, top, left + side, top + side))
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def png(array):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def named(raw):
    return hashlib.sha256(raw).hexdigest()[:16]


@lru_cache
def picture(name):
    raw = png(photograph(name))
    return stage.Picture(named(raw), name, raw)


@lru_cache
def saliency(name, grid):
    grey = photograph(name).mean(axis=2)
    smooth = gaussian_filter(gaussian_gradient_magnitude(grey, 2.0), 6.0) ** 2
    blocks = smooth.reshape(grid, SIDE // grid, grid, SIDE // grid).mean(axis=(1, 3))
    raw = png(np.round(255 * smooth / smooth.max()).astype(np.uint8))
    return stage.Saliency(
        named(raw), raw, (blocks / blocks.sum()).astype(np.float32), smooth.max() / smooth.mean()
    )


def edges(grid):
    index = np.arange(grid * grid).reshape(grid, grid)
    across = np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], 1)
    down = np.stack([index[:-1].ravel(), index[1:].ravel()], 1)
    return np.concatenate([across, down])


class Problem:
    """Puzzle Mix on one pair: costs, a mask by coordinate descent, exact transport."""

    def __init__(self, names, grid, levels, xi):
        self.names, self.grid, self.levels, self.xi = names, grid, levels, xi
        self.beta, self.gamma, self.eta = 1.2 / (16 * grid), 0.6 / (16 * grid), 0.2 / grid**2
        self.maps = [saliency(name, grid) for name in names]
        self.flat = [m.blocks.ravel().astype(float) for m in self.maps]
        self.edges = edges(grid)
        self.near = [
            np.concatenate(
                [self.edges[self.edges[:, 0] == b, 1], self.edges[self.edges[:, 1] == b, 0]]
            )
            for b in range(grid * grid)
        ]
        rng = np.random.default_rng(grid)
        self.seam = rng.uniform(-0.3, 0.3, grid * grid)
        place = np.stack(np.divmod(np.arange(grid * grid), grid), 1)
        far = ((place[:, None] - place[None]) ** 2).sum(-1)
        self.distance = far / max(1, (grid - 1) ** 2)

    def prior(self, lam):
        t, m = np.arange(self.levels + 1), self.levels
        choose = gammaln(m + 1) - gammaln(t + 1) - gammaln(m - t + 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            success = np.where(t == 0, 0.0, t * np.log(lam))
            failure = np.where(t == m, 0.0, (m - t) * np.log1p(-lam))
        return -self.eta * (choose + success + failure)

    def costs(self, labels, hidden, lam):
        """(n * n, m + 1) costs by term: hidden, beta, gamma, eta."""
        share = np.arange(self.levels + 1) / self.levels
        z = labels / self.levels
        beta = self.beta * np.stack(
            [((share[None] - z[j][:, None]) ** 2).sum(0) for j in self.near]
        )
        return {
            "hidden": share[None] * hidden[0][:, None] + (1 - share[None]) * hidden[1][:, None],
            "beta": beta,
            "gamma": self.gamma * self.seam[:, None] * share[None],
            "eta": np.broadcast_to(self.prior(lam), beta.shape),
        }

    def mask(self, lam):
        """Coordinate descent; every block's change is a step."""
        prior = self.prior(lam)
        start = int(np.argmin(np.where(np.isfinite(prior), prior, np.inf)))
        labels = np.full(self.grid**2, start)
        trail = []
        for _ in range(6):
            before = labels.copy()
            for b in range(self.grid**2):
                labels[b] = np.argmin(sum(self.costs_at(b, labels, lam, prior)))
            if (before == labels).all():
                break
            trail.append(labels.copy())
        return labels, trail

    def costs_at(self, b, labels, lam, prior):
        share = np.arange(self.levels + 1) / self.levels
        near = labels[self.near[b]] / self.levels
        return (
            share * self.flat[0][b] + (1 - share) * self.flat[1][b],
            self.beta * ((share[:, None] - near[None]) ** 2).sum(1),
            self.gamma * self.seam[b] * share,
            prior,
        )

    def plan(self, q, labels):
        z = labels / self.levels
        share = z if q else 1 - z
        cost = self.xi * self.distance - self.flat[q][:, None] * share[None]
        rows, places = linear_sum_assignment(cost + 1e-9 * self.distance)
        source = np.empty(self.grid**2, int)
        source[places] = rows
        return source

    def energy(self, labels, sources, lam):
        z = labels / self.levels
        moved = [self.flat[q][sources[q]] for q in (0, 1)]
        i, j = self.edges.T
        terms = {
            "saliency_0": float((z * moved[0]).sum()),
            "saliency_1": float(((1 - z) * moved[1]).sum()),
            "label_smooth": float(self.beta * ((z[i] - z[j]) ** 2).sum()),
            "data_smooth": float(self.gamma * (self.seam * z).sum() + 0.1),
            "prior": float(self.prior(lam)[labels].sum()),
            "transport": float(
                self.xi * sum(self.distance[s, np.arange(len(s))].sum() for s in sources)
            ),
        }
        return terms | {"total": sum(terms.values())}

    def frame(self, lam, notices=()):
        labels, trail = self.mask(lam)
        sources = [self.plan(q, labels) for q in (0, 1)]
        moved = [self.flat[q][sources[q]] for q in (0, 1)]
        costs = self.costs(labels, moved, lam)
        shape = (self.grid, self.grid)
        terms = self.energy(labels, sources, lam)
        still = np.arange(labels.size)
        seen = (labels < self.levels, labels > 0)
        visible = sum(int(((sources[q] != still) & seen[q]).sum()) for q in (0, 1))
        frame = stage.Frame(
            lam=lam,
            labels=labels.reshape(shape).astype(np.uint8),
            source_0=sources[0].astype(np.uint16),
            source_1=sources[1].astype(np.uint16),
            weight_1=float(labels.mean() / self.levels),
            terms=terms,
            moved_0=moved[0].reshape(shape).astype(np.float32),
            moved_1=moved[1].reshape(shape).astype(np.float32),
            label_cost=costs["beta"].reshape(*shape, -1).astype(np.float32),
            data_cost=costs["gamma"].reshape(*shape, -1).astype(np.float32),
            prior_cost=self.prior(lam).astype(np.float32),
            status=f"Mask {self.grid} × {self.grid}: B shows in {int((labels > 0).sum())} of "
            f"{labels.size} blocks; moving {visible} visible blocks uncovers saliency.",
            notices=notices,
        )
        return frame, trail

    def steps(self, lam, trail, frame):
        still = np.arange(self.grid**2)
        found = []
        if trail:
            found.append(
                stage.Steps(
                    "swap",
                    tuple(f"Labels settle, sweep {i + 1}." for i in range(len(trail))),
                    np.array([self.energy(t, [still, still], lam)["total"] for t in trail]),
                    labels=np.stack(trail).reshape(-1, self.grid, self.grid).astype(np.uint8),
                )
            )
        for q, source in enumerate((frame.source_0, frame.source_1)):
            target = source.astype(np.int16)
            moved = target != still
            half = np.where(moved & (still % 2 == 0), -1, target).astype(np.int16)
            rounds = np.stack([still.astype(np.int16), half, target])
            captions = (
                "Every block asks for its best place.",
                "Losers ask again.",
                "Nobody asks any more.",
            )
            found.append(
                stage.Steps(f"rounds_{q}", captions, np.array([0.3, 0.2, 0.1]), sources=rounds)
            )
        return tuple(found)

    def scene(self):
        return stage.Scene(
            key=f"{'-'.join(self.names)}-{self.grid}-{self.levels}-{self.xi}",
            grid=self.grid,
            levels=self.levels,
            picture_0=picture(self.names[0]),
            picture_1=picture(self.names[1]),
            saliency_0=self.maps[0],
            saliency_1=self.maps[1],
            solver="exact",
            transport="exact",
            contract="encouraged",
            contract_words="encouraged by η",
            units={"beta_E": self.beta, "gamma_E": self.gamma, "eta_E": self.eta, "xi": self.xi},
        )


def smooth(name):
    """The saliency behind `saliency(name, grid)`, (SIDE, SIDE), in multiples of its mean."""
    grey = photograph(name).mean(axis=2)
    found = gaussian_filter(gaussian_gradient_magnitude(grey, 2.0), 6.0) ** 2
    return found / found.mean()


def cell_means(values, grid):
    return values.reshape(grid, SIDE // grid, grid, SIDE // grid).mean(axis=(1, 3))


def exposed(maps, fixed, free):
    """What a mask shows of each map at λ = 0 and at λ = 1."""
    masks = [np.where(free, lam, fixed) for lam in (0.0, 1.0)]
    return (
        tuple(float((maps[0] * (1 - mask)).mean()) for mask in masks),
        tuple(float((maps[1] * mask).mean()) for mask in masks),
    )


def patch_scene(names, grid=4, quantile=0.6):
    """Top patches of either picture; where both or neither is chosen the mask is λ."""
    maps = [smooth(name) for name in names]
    pooled = [cell_means(map_, grid) for map_ in maps]
    chosen = [values >= np.quantile(values, quantile) for values in pooled]
    agree = chosen[0] == chosen[1]
    whole = np.ones((SIDE // grid, SIDE // grid))
    free = np.kron(agree, whole).astype(bool)
    fixed = np.kron(chosen[1], whole).astype(np.float32)
    counts = [f"{int(c.sum())} of {grid * grid} patches" for c in chosen]
    exposed_0, exposed_1 = exposed(maps, fixed, free)
    rule = np.where(agree, 0, np.where(chosen[1], 1, 2)).astype(np.float32)
    rows = [
        stage.CardRow(f"top patch of {letter}", c.astype(np.float32), "label", ("no", "yes"))
        for letter, c in zip("AB", chosen, strict=True)
    ]
    said = (
        "Both agree, so the mask takes λ\u00a0=\u00a0{lam}.",
        "A top patch of B alone: the mask is 1.",
        "A top patch of A alone: the mask is 0.",
    )
    return stage.PixelScene(
        key=f"patches-{'-'.join(names)}-{grid}",
        grid=grid,
        picture_0=picture(names[0]),
        picture_1=picture(names[1]),
        saliency_0=saliency(names[0], grid),
        saliency_1=saliency(names[1], grid),
        fixed=fixed,
        free=free,
        guide=stage.Guide("Top patches", chosen[0], chosen[1], "chosen", tuple(counts)),
        contract="recomputed",
        contract_words="recomputed from the mask",
        rows=(*rows, stage.CardRow("", rule, "words", said)),
        status="The maps agree on {agree} patches, where λ decides; B gets {weight} of the "
        "label.".replace("{agree}", str(int(agree.sum()))),
        exposed_0=exposed_0,
        exposed_1=exposed_1,
    )


def share_scene(names, grid=28):
    """Each pixel in proportion to saliency; λ is not used."""
    maps = [smooth(name) for name in names]
    fixed = (maps[1] / (maps[0] + maps[1])).astype(np.float32)
    free = np.zeros_like(fixed, dtype=bool)
    top = float(np.max(maps))
    exposed_0, exposed_1 = exposed(maps, fixed, free)
    rows = [
        stage.CardRow(f"{letter}, × mean", cell_means(map_, grid).astype(np.float32), "number")
        for letter, map_ in zip("AB", maps, strict=True)
    ]
    return stage.PixelScene(
        key=f"shares-{'-'.join(names)}",
        grid=grid,
        picture_0=picture(names[0]),
        picture_1=picture(names[1]),
        saliency_0=saliency(names[0], grid),
        saliency_1=saliency(names[1], grid),
        fixed=fixed,
        free=free,
        guide=stage.Guide("Blurred", *(m.astype(np.float32) for m in maps), "heat", top=top),
        contract="independent",
        contract_words="independent of λ",
        rows=tuple(rows),
        status="B shows more than half in {over} of the pixels.",
        exposed_0=exposed_0,
        exposed_1=exposed_1,
        notices=(stage.Notice("A is flat.", "Choose another picture."),),
        swappable=False,
    )


def box_scene(names, lam, grid=8):
    """A box whose side follows λ: another mask for each, which the stage has to ask for."""
    side = round(SIDE * np.sqrt(lam))
    fixed = np.zeros((SIDE, SIDE), np.float32)
    fixed[:side, :side] = 1
    maps = [smooth(name) for name in names]
    free = np.zeros_like(fixed, dtype=bool)
    exposed_0, exposed_1 = exposed(maps, fixed, free)
    return stage.PixelScene(
        key=f"box-{'-'.join(names)}",
        grid=grid,
        picture_0=picture(names[0]),
        picture_1=picture(names[1]),
        saliency_0=saliency(names[0], grid),
        saliency_1=saliency(names[1], grid),
        fixed=fixed,
        free=free,
        guide=None,
        contract="recomputed",
        contract_words="recomputed from the mask",
        rows=(),
        status="A box of {over}.",
        exposed_0=exposed_0,
        exposed_1=exposed_1,
        scrubs=False,
    )


def pixel_page(kind, names):
    asked = stage.read(key="pixels").lam
    lam = 0.4 if asked is None else asked
    scene = {
        "patches": lambda: patch_scene(names, int(st.query_params.get("grid", 4))),
        "shares": lambda: share_scene(names),
        "box": lambda: box_scene(names, lam),
    }[kind]()
    overlay = st.query_params.get("overlay")
    seen = stage.show_pixels(scene, lam=lam, overlay=overlay, on_change=hear)
    stage.shelf([scene.picture_0, scene.picture_1, scene.saliency_0, scene.saliency_1])
    st.text(json.dumps(asdict(seen) | {"heard": st.session_state.get("heard", [])}))


@st.cache_resource
def solved(names, grid, levels, xi):
    problem = Problem(names, grid, levels, xi)
    return problem, [problem.frame(lam) for lam in LAMBDAS]


def hear(result):
    st.session_state.heard = [*st.session_state.get("heard", []), result.lam]


def count():
    st.session_state.clicks = st.session_state.get("clicks", 0) + 1


def main():
    st.set_page_config(layout="wide", page_title="stage")
    query = st.query_params
    grid = int(query.get("grid", 8))
    levels = int(query.get("levels", 2))
    names = ("Cat", "Dahlia")
    with st.sidebar:
        swapped = st.toggle("swapped", key="swapped")
        xi = st.select_slider("xi", [0.02, 0.05, 0.8], value=float(query.get("xi", 0.05)), key="xi")
        chunks = st.number_input("chunks", 0, 6, int(query.get("chunks", 6)), key="chunks")
        st.button("again", on_click=count)
    if swapped:
        names = names[::-1]
    if "pixels" in query:
        pixel_page(query["pixels"], names)
        return
    problem, answers = solved(names, grid, levels, xi)
    asked = stage.read().lam
    lam = float(query.get("lam", 0.4)) if asked is None else asked
    frame, trail = answers[round(lam * 50)]
    if "notice" in query:
        frame, trail = problem.frame(
            lam,
            (
                stage.Notice("Nothing moves at ξ = 0.8.", "Set ξ to 0.05", "set_xi:0.05"),
                stage.Notice("The mask is a checkerboard.", "Raise β."),
            ),
        )
    clicks = st.session_state.get("clicks", 0)
    if clicks:
        frame = replace(frame, status=f"Asked {clicks} times.")
    scene = problem.scene()
    if "contract" in query:
        contract = query["contract"]
        scene = replace(scene, contract=contract, contract_words=f"{contract} of λ")
    steps = problem.steps(lam, trail, frame) if "steps" in query else ()
    seen = stage.show(scene, frame, steps, on_change=hear)
    if clicks or "late" not in query:
        stage.shelf([scene.picture_0, scene.picture_1, scene.saliency_0, scene.saliency_1])
    for i in range(int(chunks)):
        stage.feed(scene.key, [f for f, _ in answers[i::6]], key=f"feed-{i}")
    told = {"heard": st.session_state.get("heard", []), "clicks": clicks}
    st.text(json.dumps(asdict(seen) | told))


if __name__ == "__main__":
    main()
