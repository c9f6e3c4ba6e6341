"""Where a run takes its batches from: pictures held decoded, or decoded while steps run."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from mixviz.train.sources import (
    WORKERS,
    ImageSet,
    Source,
    Split,
    check_memory,
    decode_item,
    decode_split,
    first_of_each,
)

AHEAD = 4
"""Batches that are being decoded behind the one in use."""
SHARE = 16
"""Pictures a thread decodes at a time."""
SAMPLE = 2000
"""Pictures that the statistics of a streamed split are taken from, at most."""

Batch = tuple[Tensor, Tensor]


class Shelf(Protocol):
    """Labelled pictures of one size, to be taken in any order."""

    @property
    def labels(self) -> Tensor:
        """(n,) int64, on the CPU."""
        ...

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        ...

    def __len__(self) -> int: ...

    def sized(self, size: int) -> "Shelf":
        """The same pictures at another size."""
        ...

    def batches(self, order: Tensor, batch: int) -> Iterator[Batch]:
        """Pictures (b, 3, size, size), uint8, and labels (b,), on the device; the last may be less.

        Args:
            order: rows to take, on the CPU.
            batch: how many at a time.

        Raises:
            DataError: a picture cannot be decoded.
        """
        ...

    def statistics(self) -> tuple[list[float], list[float]]:
        """Per-channel mean and standard deviation, scaled to [0, 1], 4 decimals."""
        ...


@dataclass(frozen=True, eq=False)
class Held:
    """Decoded pictures, on the device or in the memory of the host."""

    data: ImageSet
    device: torch.device

    @classmethod
    def near(cls, data: ImageSet, device: torch.device) -> Self:
        """Keep the images on the device where they take less than half of its free memory."""
        if device.type != "cuda":
            return cls(data, device)
        free, _ = torch.cuda.mem_get_info(device)
        fits = data.images.nbytes < free / 2
        images = data.images.to(device) if fits else data.images
        return cls(ImageSet(images, data.labels.to(images.device)), device)

    @property
    def labels(self) -> Tensor:
        """(n,) int64, on the CPU."""
        return self.data.labels.cpu()

    @property
    def size(self) -> int:
        """Side of the pictures in pixels."""
        return self.data.images.shape[-1]

    def __len__(self) -> int:
        return len(self.data)

    def sized(self, size: int) -> "Held":
        """The same pictures resized, antialiased."""
        if size == self.size:
            return self
        return Held(ImageSet(_resize(self.data.images, size), self.data.labels), self.device)

    def batches(self, order: Tensor, batch: int) -> Iterator[Batch]:
        """As `Shelf`; from host memory they travel pinned, behind the running step."""
        for rows in _parts(order.to(self.data.images.device), batch):
            images, labels = self.data.images[rows], self.data.labels[rows]
            yield _sent(images, self.device), _sent(labels, self.device)

    def statistics(self) -> tuple[list[float], list[float]]:
        """As `Shelf`, of all pictures."""
        return _moments(_parts(self.data.images, 1000), len(self))


@dataclass(frozen=True, eq=False)
class Streamed:
    """Pictures that are decoded when they are wanted, a few batches ahead of the one in use.

    Attributes:
        split: where they are.
        rows: the rows of the split that are on this shelf.
        size: side in pixels they are decoded to.
        device: where batches go.
    """

    split: Split
    rows: np.ndarray
    size: int
    device: torch.device

    @property
    def labels(self) -> Tensor:
        """(n,) int64, on the CPU."""
        return torch.from_numpy(self.split.labels[self.rows].astype(np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def sized(self, size: int) -> "Streamed":
        """The same pictures, decoded to another size."""
        return self if size == self.size else replace(self, size=size)

    def batches(self, order: Tensor, batch: int) -> Iterator[Batch]:
        """As `Shelf`; closing the iterator ends its threads."""
        labels = self.labels
        waiting: deque[tuple[Tensor, Tensor, list[Future[None]]]] = deque()
        pool = ThreadPoolExecutor(WORKERS, "decode")
        try:
            for rows in _parts(order, batch):
                images, tasks = self._begin(rows, pool)
                waiting.append((images, labels[rows], tasks))
                if len(waiting) > AHEAD:
                    yield self._finish(*waiting.popleft())
            while waiting:
                yield self._finish(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def statistics(self) -> tuple[list[float], list[float]]:
        """As `Shelf`, of at most `SAMPLE` pictures, evenly spaced."""
        count = min(len(self), SAMPLE)
        sample = torch.arange(count) * len(self) // count
        on_host = replace(self, device=torch.device("cpu"))
        return _moments((images for images, _ in on_host.batches(sample, 1000)), count)

    def _begin(self, rows: Tensor, pool: ThreadPoolExecutor) -> tuple[Tensor, list[Future[None]]]:
        shape = (len(rows), 3, self.size, self.size)
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        wanted, pixels = self.rows[rows.numpy()], images.numpy()
        return images, [
            pool.submit(self._decode, wanted[start : start + SHARE], pixels[start : start + SHARE])
            for start in range(0, len(rows), SHARE)
        ]

    def _decode(self, rows: np.ndarray, pixels: np.ndarray) -> None:
        for row, place in zip(rows, pixels, strict=True):
            place[:] = decode_item(self.split.at(int(row)), self.size)

    def _finish(self, images: Tensor, labels: Tensor, tasks: list[Future[None]]) -> Batch:
        for task in tasks:
            task.result()
        return _sent(images, self.device), _sent(labels, self.device)


def hold(
    source: Source, split: str, size: int, per_class: int | None, device: torch.device
) -> Shelf:
    """Decode a split now and keep it, as `decode_split` does.

    Raises:
        DataError: an image cannot be decoded, or the memory does not suffice.
    """
    return Held.near(decode_split(source, split, size, per_class), device)


def stream(
    source: Source, split: str, size: int, per_class: int | None, device: torch.device
) -> Shelf:
    """Decode the pictures of a split whenever they are wanted.

    Raises:
        DataError: the split stays encoded in memory, which does not suffice.
    """
    rows = source.splits[split]
    check_memory(
        rows.kept,
        f"not enough memory: the {split} images of {source.name} take {rows.kept / 1e9:.1f} GB "
        "encoded; unpack the shards into folders, train/CLASS/*.jpg and val/CLASS/*.jpg",
    )
    wanted = np.flatnonzero(first_of_each(rows.labels, per_class))
    return Streamed(rows, wanted, size, device)


SHELVES: dict[str, Callable[[Source, str, int, int | None, torch.device], Shelf]] = {
    "memory": hold,
    "disk": stream,
}
"""Makers of a shelf by where they keep the pictures.

Each takes a source, the name of a split, the size in pixels, how many images to keep of each class
(None: all) and the device that batches go to.
"""


def _parts(tensor: Tensor, count: int) -> Iterator[Tensor]:
    return (tensor[start : start + count] for start in range(0, len(tensor), count))


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    if tensor.device == device:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _resize(images: Tensor, size: int) -> Tensor:
    resized = images.new_empty((len(images), 3, size, size))
    for old, new in zip(_parts(images, 1000), _parts(resized, 1000), strict=True):
        part = interpolate(old.float(), (size, size), mode="bilinear", antialias=True)
        new.copy_(part.round().clamp(0, 255))
    return resized


def _moments(parts: Iterable[Tensor], count: int) -> tuple[list[float], list[float]]:
    total: Tensor | None = None
    for part in parts:
        values = part.float() / 255
        both = torch.stack((values.mean((0, 2, 3)), values.square().mean((0, 2, 3))))
        weighted = (both * len(part)).double()
        total = weighted if total is None else total + weighted
    if total is None:
        raise ValueError("statistics of no pictures")
    mean, square = total / count
    std = (square - mean.square()).clamp(min=1e-6).sqrt()
    return [round(m, 4) for m in mean.tolist()], [round(s, 4) for s in std.tolist()]
