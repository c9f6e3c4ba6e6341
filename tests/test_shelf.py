"""Shelves hand out the same pictures, wherever they keep them."""

import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from mixviz.train import shelf, sources
from mixviz.train.errors import DataError
from mixviz.train.shelf import SHELVES, Held, Shelf, Streamed, hold, stream
from mixviz.train.sources import ImageSet, Item, Source, decode_split, open_source

CPU = torch.device("cpu")
COUNT = 50


def encoded(row: int, kind: str = "PNG") -> bytes:
    """Noise of 20 × 16 pixels, another for each row."""
    pixels = np.random.default_rng(row).integers(0, 256, (16, 20, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def write_folders(folder: Path) -> Path:
    for row in range(COUNT):
        path = folder / "train" / f"class_{row % 3}" / f"{row:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(row))
    return folder


def write_shards(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "classes.tsv").write_text("0\ta\tone\n1\tb\ttwo\n2\tc\tthree\n")
    for shard, rows in enumerate((range(23), range(23, COUNT))):
        images = [{"bytes": encoded(row), "path": f"{row}.png"} for row in rows]
        table = pa.table({"image": images, "label": [row % 3 for row in rows]})
        pq.write_table(table, folder / f"train-{shard}.parquet", row_group_size=7)
    return folder


def source_of_arrays(_: Path) -> Source:
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16, 3)).astype(np.uint8)
    rows = sources.Split(
        np.arange(COUNT) % 3,
        lambda wanted: (Item(f"image {row}", pixels[row]) for row in np.flatnonzero(wanted)),
    )
    return Source("arrays", "", ("one", "two", "three"), (), {"train": rows})


def source_of_folders(folder: Path) -> Source:
    return open_source(write_folders(folder / "folders"), None, False, ("train",))


def source_of_shards(folder: Path) -> Source:
    return open_source(write_shards(folder / "shards"), None, False, ("train",))


KINDS = (source_of_folders, source_of_shards, source_of_arrays)


def everything(one: Shelf, order: torch.Tensor, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    parts = list(one.batches(order, batch))
    assert [len(labels) for _, labels in parts] == [
        min(batch, len(order) - start) for start in range(0, len(order), batch)
    ]
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


def decoders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("per_class", [None, 4])
@pytest.mark.parametrize("size", [16, 24])
def test_both_shelves_hand_out_the_pictures_in_the_order_asked_for(
    make: Callable[[Path], Source], per_class: int | None, size: int, tmp_path: Path
) -> None:
    source = make(tmp_path)
    expected = decode_split(source, "train", size, per_class)
    order = torch.randperm(len(expected), generator=torch.Generator().manual_seed(1))
    order = torch.cat((order, order[:3]))
    for build in SHELVES.values():
        one = build(source, "train", size, per_class, CPU)
        assert len(one) == len(expected) == (COUNT if per_class is None else 12)
        assert one.size == size
        assert one.labels.dtype == torch.int64
        assert torch.equal(one.labels, expected.labels)
        images, labels = everything(one, order, 8)
        assert images.dtype == torch.uint8
        assert torch.equal(images, expected.images[order])
        assert torch.equal(labels, expected.labels[order])
        assert list(one.batches(order[:0], 8)) == []
    assert not decoders()


def test_another_size_is_resized_from_what_is_held_and_decoded_anew_from_disk(
    tmp_path: Path,
) -> None:
    source = source_of_folders(tmp_path)
    order = torch.arange(COUNT)
    held = hold(source, "train", 24, None, CPU)
    assert held.sized(24) is held
    native = everything(held, order, 20)[0]
    wanted = interpolate(native.float(), (16, 16), mode="bilinear", antialias=True)
    smaller = held.sized(16)
    assert smaller.size == 16
    assert torch.equal(everything(smaller, order, 20)[0], wanted.round().clamp(0, 255).byte())
    assert torch.equal(smaller.labels, held.labels)
    streamed = stream(source, "train", 24, None, CPU)
    assert streamed.sized(24) is streamed
    anew = decode_split(source, "train", 16).images
    assert torch.equal(everything(streamed.sized(16), order, 20)[0], anew)
    assert streamed.size == 24


def test_held_pictures_are_resized_alike_in_chunks_and_at_once() -> None:
    pixels = torch.randint(0, 256, (1003, 3, 6, 6), dtype=torch.uint8)
    held = Held(ImageSet(pixels, torch.zeros(1003, dtype=torch.int64)), CPU)
    images, _ = everything(held.sized(4), torch.arange(1003), 500)
    last = interpolate(pixels[1000:].float(), (4, 4), mode="bilinear", antialias=True)
    assert torch.equal(images[1000:], last.round().clamp(0, 255).byte())


def test_statistics_are_those_of_numpy() -> None:
    pixels = torch.randint(0, 256, (2345, 3, 4, 4), dtype=torch.uint8)
    held = Held(ImageSet(pixels, torch.zeros(2345, dtype=torch.int64)), CPU)
    mean, std = held.statistics()
    values = pixels.numpy() / 255
    assert mean == pytest.approx(values.mean((0, 2, 3)), abs=1e-4)
    assert std == pytest.approx(values.std((0, 2, 3)), abs=1e-4)


@pytest.mark.parametrize("make", KINDS)
def test_both_shelves_have_the_same_statistics(
    make: Callable[[Path], Source], tmp_path: Path
) -> None:
    source = make(tmp_path)
    one, other = (build(source, "train", 16, None, CPU) for build in SHELVES.values())
    assert one.statistics() == other.statistics()
    assert all(round(value, 4) == value for value in [*one.statistics()[0], *one.statistics()[1]])


def test_statistics_of_a_large_split_come_from_an_evenly_spaced_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of_arrays(tmp_path)
    monkeypatch.setattr(shelf, "SAMPLE", 10)
    sample = decode_split(source, "train", 16).images[::5]
    few = Held(ImageSet(sample, torch.zeros(10, dtype=torch.int64)), CPU)
    assert stream(source, "train", 16, None, CPU).statistics() == few.statistics()
    assert few.statistics() != hold(source, "train", 16, None, CPU).statistics()


def test_no_more_than_a_few_batches_are_decoded_ahead(tmp_path: Path) -> None:
    whole = source_of_arrays(tmp_path).splits["train"]
    asked: list[int] = []

    def pick(row: int) -> Item:
        asked.append(row)
        return Item(f"image {row}", np.zeros((8, 8, 3), np.uint8))

    split = sources.Split(whole.labels, whole.read, pick)
    one = Streamed(split, np.arange(COUNT), 8, CPU)
    batches = one.batches(torch.arange(COUNT), 2)
    assert asked == []
    for taken in range(1, 4):
        next(batches)
        assert 2 * taken <= len(asked) <= 2 * (taken + shelf.AHEAD)
    assert decoders()
    batches.close()
    assert not decoders()
    assert len(asked) <= 2 * (3 + shelf.AHEAD)


@pytest.mark.parametrize(
    ("make", "spoil", "place"),
    [
        (source_of_folders, "folders/train/class_2/032.png", "class_2/032.png: the image cannot"),
        (source_of_shards, "shards/train-1.parquet", "train-1.parquet row 9: the image cannot"),
    ],
)
def test_a_picture_that_breaks_on_the_way_is_told_by_its_place(
    make: Callable[[Path], Source], spoil: str, place: str, tmp_path: Path
) -> None:
    source = make(tmp_path)
    one = stream(source, "train", 16, None, CPU)
    if spoil.endswith(".parquet"):
        rows = [(encoded(row), row % 3) for row in range(23, COUNT)]
        rows[9] = (b"\xff\xd8 no picture", 2)
        images = [{"bytes": picture, "path": ""} for picture, _ in rows]
        table = pa.table({"image": images, "label": [label for _, label in rows]})
        pq.write_table(table, tmp_path / spoil, row_group_size=7)
    else:
        (tmp_path / spoil).write_bytes(b"no picture")
    batches = one.batches(torch.arange(COUNT), 5)
    assert len(next(batches)[0]) == 5
    with pytest.raises(DataError, match=place):
        list(batches)
    assert not decoders()


def test_a_shard_that_vanishes_is_told(tmp_path: Path) -> None:
    source = source_of_shards(tmp_path)
    one = stream(source, "train", 16, None, CPU)
    batches = one.batches(torch.arange(COUNT), 2)
    next(batches)
    (tmp_path / "shards" / "train-1.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(DataError, match=r"train-1\.parquet row group 0: "):
        list(batches)


def test_a_row_group_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_of_shards(tmp_path)
    read: list[int] = []
    usual = pq.ParquetFile.read_row_group

    def count(file: pq.ParquetFile, group: int, **how: object) -> pa.Table:
        read.append(group)
        return usual(file, group, **how)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", count)
    one = stream(source, "train", 16, 1, CPU)
    list(one.batches(torch.arange(3), 1))
    assert read == [0]
    one = stream(source, "train", 16, None, CPU)
    for _ in range(2):
        list(one.batches(torch.arange(COUNT).flip(0), 8))
    assert sorted(read) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_too_little_memory_names_the_other_shelf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of_shards(tmp_path)
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 99 kB\nMemAvailable:       20 kB\n")
    monkeypatch.setattr(sources, "MEMINFO", meminfo)
    with pytest.raises(DataError, match=r"50 images at 16 px take 0\.0 GB; use --keep disk, "):
        hold(source, "train", 16, None, CPU)
    assert source.splits["train"].kept > 20 * 1024
    with pytest.raises(DataError, match="encoded; unpack the shards into folders"):
        stream(source, "train", 16, None, CPU)
    assert len(stream(source_of_folders(tmp_path), "train", 16, None, CPU)) == COUNT
