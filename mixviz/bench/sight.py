"""From a new picture to its saliency on the bundled classifier, cold and warm."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from mixviz import zoo
from mixviz.bench.report import Table, interleave, milliseconds
from mixviz.core.saliency import explain
from mixviz.samples import SAMPLES, load_sample, square_crop

ROOT = Path(__file__).resolve().parents[2]

# Run in a process of its own; the clock starts before anything is imported.
COLD = """
import json, sys, time
start = time.perf_counter()
import torch
torch.set_num_threads(1)
from mixviz import zoo
from mixviz.bench.sight import BUNDLED, picture
from mixviz.core.saliency import explain
x = picture(0, int(sys.argv[1]))
imported = time.perf_counter()
classifier = zoo.load(BUNDLED, torch.device("cpu"))
loaded = time.perf_counter()
explain(classifier, x)
done = time.perf_counter()
print(json.dumps([imported - start, loaded - imported, done - loaded]))
"""

BUNDLED = next(iter(zoo.CATALOGUE))


def picture(index: int, size: int) -> torch.Tensor:
    """A bundled photograph as a batch of one in [0, 1]."""
    names = list(SAMPLES)
    pixels = square_crop(load_sample(names[index % len(names)]), size, 0.5, 0.5, 1.0)
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float() / 255


def saliency(size: int = 224, repeats: int = 10, cold: int = 5) -> list[Table]:
    """Median milliseconds from picture to saliency, by stage of a new process and warm."""
    torch.set_num_threads(1)
    stages = []
    for _ in range(cold):
        start = time.perf_counter()
        process = subprocess.run(
            [sys.executable, "-c", COLD, str(size)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        stages.append([*json.loads(process.stdout), time.perf_counter() - start])
    classifier = zoo.load(BUNDLED, torch.device("cpu"))
    x = picture(0, size)
    warm = interleave(
        {
            "Warm: saliency of one picture": lambda: explain(classifier, x),
            "Warm: prediction of one mix": lambda: classifier.predict(x),
        },
        [()],
        repeats,
    )
    names = (
        "New process: imports and picture",
        "New process: classifier loaded",
        "New process: first saliency",
        "New process: all of it, from its start to its end",
    )
    timed = {
        **dict(zip(names, map(list, zip(*stages, strict=True)), strict=True)),
        **warm,
    }
    rows = tuple(
        (name, milliseconds(seconds), milliseconds(seconds, 95)) for name, seconds in timed.items()
    )
    return [
        Table(
            f"Picture → saliency, {size} px, bundled classifier",
            ("what", "median ms", "p95 ms"),
            rows,
        )
    ]
