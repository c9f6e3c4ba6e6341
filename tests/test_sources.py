"""Every data set is read from a small copy of its layout, and told what is wrong with it."""

import hashlib
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision
from PIL import Image

from mixviz.train import sources
from mixviz.train.errors import DataError
from mixviz.train.sources import (
    TORCHVISION,
    Source,
    decode_split,
    first_of_each,
    open_source,
    read_square,
)

BOTH = ("train", "val")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """No test may connect; those that try are recorded, whatever becomes of the error."""
    tried: list[object] = []

    def refuse(*what: object, **more: object) -> None:
        tried.append(what)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    return tried


def paint(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((12, 16, 3), shade, np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


def shade_of(row: int) -> int:
    return 10 + 7 * row


# Small copies ------------------------------------------------------------------------------------
# Row i of a copy is painted in shade_of(i), so that a picture tells which row it is.


def write_flowers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six images of two classes, 1 to 3 train, 4 validate, 5 and 6 test; three names are kept."""
    inside = folder / "flowers-102"
    for row in range(6):
        paint(inside / "jpg" / f"image_{row + 1:05d}.jpg", shade_of(row))
    scipy.io.savemat(inside / "imagelabels.mat", {"labels": np.array([[1, 2, 1, 2, 2, 1]])})
    split = {"trnid": [[2, 1, 3]], "valid": [[4]], "tstid": [[5, 6]]}
    scipy.io.savemat(inside / "setid.mat", {key: np.array(ids) for key, ids in split.items()})
    know_flowers(inside, monkeypatch)


def know_flowers(inside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flowers = torchvision.datasets.Flowers102
    sums = {
        key: (name, hashlib.md5((inside / name).read_bytes()).hexdigest())
        for key, name in (("label", "imagelabels.mat"), ("setid", "setid.mat"))
    }
    monkeypatch.setattr(flowers, "_file_dict", {"image": ("102flowers.tgz", ""), **sums})
    monkeypatch.setattr(flowers, "classes", ["pink primrose", "colt's foot"])


def write_aircraft(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = folder / "fgvc-aircraft-2013b" / "data"
    for row in range(5):
        paint(data / "images" / f"00{row}.jpg", shade_of(row))
    (data / "variants.txt").write_text("707-320\nF/A-18\n")
    (data / "images_variant_trainval.txt").write_text("002 F/A-18\n000 707-320\n")
    (data / "images_variant_test.txt").write_text("003 707-320\n001 707-320\n004 F/A-18\n")


def write_cars(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = folder / "stanford_cars"
    (inside / "devkit").mkdir(parents=True)
    names = np.array(["AM General Hummer SUV 2000", "Acura RL Sedan 2012"], dtype=object)
    scipy.io.savemat(inside / "devkit" / "cars_meta.mat", {"class_names": names})
    for path, base, rows in (
        (inside / "devkit" / "cars_train_annos.mat", "cars_train", [(0, 2), (1, 1), (2, 2)]),
        (inside / "cars_test_annos_withlabels.mat", "cars_test", [(3, 1), (4, 2)]),
    ):
        write_annotations(path, rows)
        for row, _ in rows:
            paint(inside / base / f"{row:05d}.jpg", shade_of(row))


def write_annotations(path: Path, rows: list[tuple[int, int]]) -> None:
    kind = [("class", "O"), ("fname", "O")]
    content = np.array([(label, f"{row:05d}.jpg") for row, label in rows], dtype=kind)
    scipy.io.savemat(path, {"annotations": content})


def write_caltech(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = folder / "caltech101" / "101_ObjectCategories"
    for name, count in (("BACKGROUND_Google", 2), ("crocodile_head", 33), ("yin_yang", 31)):
        for number in range(count):
            paint(inside / name / f"image_{number + 1:04d}.jpg", 5 * number)


def write_cub(folder: Path, monkeypatch: pytest.MonkeyPatch | None = None) -> None:
    names = ["001.Black_footed_Albatross/a b.jpg", "002.Laysan_Albatross/c.jpg"] * 3
    names = [name.replace(".jpg", f"_{row}.jpg") for row, name in enumerate(names)]
    for row, name in enumerate(names):
        paint(folder / "images" / name, shade_of(row))
    number = [f"{row + 1} {name}\n" for row, name in enumerate(names)]
    (folder / "images.txt").write_text("".join(number))
    (folder / "image_class_labels.txt").write_text(
        "".join(f"{i + 1} {i % 2 + 1}\n" for i in range(6))
    )
    (folder / "train_test_split.txt").write_text("1 1\n2 1\n3 0\n4 0\n5 1\n6 0\n")
    (folder / "classes.txt").write_text("1 001.Black_footed_Albatross\n2 002.Laysan_Albatross\n")


def shades(source: Source, split: str) -> list[int]:
    images = decode_split(source, split, 16).images
    return images.float().mean((1, 2, 3)).round().int().tolist()


# What is read ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dataset", "write", "classes", "rows"),
    [
        (
            "flowers102",
            write_flowers,
            ("pink primrose", "colt's foot"),
            {"train": [(1, 1), (0, 0), (2, 0)], "val": [(4, 1), (5, 0)]},
        ),
        (
            "aircraft",
            write_aircraft,
            ("707-320", "F/A-18"),
            {"train": [(2, 1), (0, 0)], "val": [(3, 0), (1, 0), (4, 1)]},
        ),
        (
            "cars",
            write_cars,
            ("AM General Hummer SUV 2000", "Acura RL Sedan 2012"),
            {"train": [(0, 1), (1, 0), (2, 1)], "val": [(3, 0), (4, 1)]},
        ),
        (
            None,
            write_cub,
            ("Black footed Albatross", "Laysan Albatross"),
            {"train": [(0, 0), (1, 1), (4, 0)], "val": [(2, 0), (3, 1), (5, 1)]},
        ),
    ],
)
def test_published_sets_have_their_official_splits(
    dataset: str | None,
    write: Callable[[Path, pytest.MonkeyPatch], None],
    classes: tuple[str, ...],
    rows: dict[str, list[tuple[int, int]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_network: list[object],
) -> None:
    write(tmp_path, monkeypatch)
    source = open_source(tmp_path, dataset, False, BOTH)
    assert source.class_names == classes
    assert source.wordnet_ids == ()
    assert source.terms.endswith(".")
    for split, expected in rows.items():
        assert source.splits[split].labels.tolist() == [label for _, label in expected]
        found = shades(source, split)
        assert all(abs(a - shade_of(row)) <= 1 for a, (row, _) in zip(found, expected, strict=True))
    only = open_source(tmp_path, dataset, False, ("val",))
    assert list(only.splits) == ["val"]
    assert not no_network


def test_caltech_draws_thirty_of_each_class_for_training_and_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[object]
) -> None:
    write_caltech(tmp_path, monkeypatch)
    source = open_source(tmp_path, "caltech101", False, BOTH)
    assert source.class_names == ("crocodile head", "yin yang")
    train, val = source.splits["train"], source.splits["val"]
    assert np.bincount(train.labels).tolist() == [30, 30]
    assert np.bincount(val.labels).tolist() == [3, 1]
    names = {
        split: [item.where for item in rows.read(np.ones(len(rows.labels), dtype=bool))]
        for split, rows in source.splits.items()
    }
    assert len({*names["train"], *names["val"]}) == 64
    assert not any("BACKGROUND" in name for name in names["train"] + names["val"])
    left = [Path(name).stem for name in names["val"]]
    assert left == ["image_0002", "image_0016", "image_0032", "image_0006"]
    again = open_source(tmp_path, "caltech101", False, BOTH)
    assert [again.splits["val"].at(row).where for row in range(4)] == names["val"]
    assert not no_network


def test_rows_can_be_had_one_by_one(tmp_path: Path) -> None:
    write_cub(tmp_path)
    split = open_source(tmp_path, None, False, ("train",)).splits["train"]
    items = list(split.read(np.array([True, False, True])))
    assert [split.at(0), split.at(2)] == items
    unaided = sources.Split(split.labels, split.read)
    assert [unaided.at(0), unaided.at(2)] == items


def test_the_first_images_of_each_class_are_kept() -> None:
    labels = np.array([1, 0, 1, 0, 1, 2])
    assert first_of_each(labels, None).all()
    assert first_of_each(labels, 1).tolist() == [True, True, False, False, False, True]
    assert first_of_each(labels, 2).tolist() == [True, True, True, True, False, True]


# What is refused ---------------------------------------------------------------------------------


def refused(folder: Path, dataset: str | None, download: bool = False) -> str:
    with pytest.raises(DataError) as caught:
        open_source(folder, dataset, download, BOTH)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize("dataset", TORCHVISION)
def test_what_is_not_there_is_asked_for_and_nothing_is_fetched_unasked(
    dataset: str, tmp_path: Path, no_network: list[object]
) -> None:
    remedy = "put cars_train/, cars_test/" if dataset == "cars" else "add --download to fetch it"
    assert remedy in refused(tmp_path / "nowhere", dataset)
    assert not (tmp_path / "nowhere").exists()
    assert remedy in refused(tmp_path, dataset)
    assert not no_network
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dataset", [name for name in TORCHVISION if name != "cars"])
def test_a_download_that_fails_is_told_in_one_line(
    dataset: str, tmp_path: Path, no_network: list[object]
) -> None:
    sentence = refused(tmp_path, dataset, download=True)
    assert sentence.startswith(f"{dataset} in {tmp_path}: ")
    assert "add --download" not in sentence
    assert no_network


def test_cars_cannot_be_downloaded_but_used_with_the_word_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[object]
) -> None:
    assert "no longer offer it for download" in refused(tmp_path, "cars", download=True)
    write_cars(tmp_path, monkeypatch)
    assert len(open_source(tmp_path, "cars", True, BOTH).splits["train"].labels) == 3
    assert not no_network


def aircraft_lists(folder: Path) -> Path:
    return folder / "fgvc-aircraft-2013b" / "data"


def lose_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (aircraft_lists(folder) / "images" / "002.jpg").unlink()


def name_another_variant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (aircraft_lists(folder) / "images_variant_test.txt").write_text("003 Zeppelin\n")


def cut_a_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (aircraft_lists(folder) / "images_variant_test.txt").write_text("003\n")


def lead_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (aircraft_lists(folder) / "images_variant_test.txt").write_text("../../../x 707-320\n")


def lose_a_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (aircraft_lists(folder) / "images_variant_test.txt").unlink()


def leave_a_class_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (aircraft_lists(folder) / "images_variant_test.txt").write_text("003 707-320\n")


def zero_label(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_annotations(folder / "stanford_cars" / "cars_test_annos_withlabels.mat", [(3, 0), (4, 2)])


def no_matlab(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "stanford_cars" / "cars_test_annos_withlabels.mat").write_bytes(b"not MATLAB" * 40)


def change_a_list(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / "flowers-102" / "setid.mat").open("ab") as file:
        file.write(b"more")


def number_past_the_labels(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = folder / "flowers-102"
    split = {"trnid": [[2, 1, 3]], "valid": [[4]], "tstid": [[5, 99]]}
    scipy.io.savemat(inside / "setid.mat", {key: np.array(ids) for key, ids in split.items()})
    know_flowers(inside, monkeypatch)


def empty_a_class(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = folder / "caltech101" / "101_ObjectCategories" / "yin_yang"
    for path in inside.iterdir():
        path.unlink()


def leave_thirty(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = folder / "caltech101" / "101_ObjectCategories" / "yin_yang"
    (inside / "image_0001.jpg").unlink()


@pytest.mark.parametrize(
    ("dataset", "write", "spoil", "sentence"),
    [
        ("aircraft", write_aircraft, lose_pictures, "1 of 2 listed images are missing, the first"),
        (
            "aircraft",
            write_aircraft,
            name_another_variant,
            "its lists cannot be read (KeyError: 'Zeppelin",
        ),
        (
            "aircraft",
            write_aircraft,
            cut_a_line,
            "its lists cannot be read (ValueError: not enough values",
        ),
        ("aircraft", write_aircraft, lead_out, "which leads out of the folder"),
        ("aircraft", write_aircraft, lose_a_list, "images_variant_test.txt"),
        ("aircraft", write_aircraft, leave_a_class_out, "class 1 (F/A-18) has no val image"),
        ("cars", write_cars, zero_label, "image 0 has label -1, not 0 to 1"),
        (
            "cars",
            write_cars,
            no_matlab,
            "its lists cannot be read (ValueError: Unknown mat file type",
        ),
        ("flowers102", write_flowers, change_a_list, "Dataset not found or corrupted"),
        (
            "flowers102",
            write_flowers,
            number_past_the_labels,
            "its lists cannot be read (KeyError: 99)",
        ),
        ("caltech101", write_caltech, empty_a_class, "class 1 (yin yang) has no train image"),
        ("caltech101", write_caltech, leave_thirty, "class 1 (yin yang) has no val image"),
    ],
)
def test_spoilt_copies_are_told_in_one_line(
    dataset: str,
    write: Callable[[Path, pytest.MonkeyPatch], None],
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_network: list[object],
) -> None:
    write(tmp_path, monkeypatch)
    spoil(tmp_path, monkeypatch)
    assert sentence in refused(tmp_path, dataset)
    assert not no_network


def test_a_broken_picture_is_told_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_caltech(tmp_path, monkeypatch)
    source = open_source(tmp_path, "caltech101", False, BOTH)
    broken = Path(source.splits["val"].at(2).where)
    broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match=f"{broken.name}: the image cannot be decoded"):
        decode_split(source, "val", 16)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("images.txt", None, "no images.txt in"),
        ("classes.txt", None, "no classes.txt in"),
        ("train_test_split.txt", None, "no train_test_split.txt in"),
        ("classes.txt", "", "classes.txt names no class"),
        ("classes.txt", "1 a\n3 b\n", "classes.txt line 2: expected the number 2 and a class name"),
        ("classes.txt", "1 a\n\n2 b\n", "line 2: expected the number 2 and a class name, got ''"),
        ("images.txt", "1 x.jpg\n2\n", "images.txt line 2: expected the number 2 and a file"),
        ("images.txt", "1 ../x.jpg\n" + "".join(f"{i} y\n" for i in range(2, 7)), "leads out of"),
        ("images.txt", "1 /etc/x\n" + "".join(f"{i} y\n" for i in range(2, 7)), "leads out of"),
        (
            "images.txt",
            "".join(f"{i} y\n" for i in range(1, 7)),
            "3 of 3 listed images are missing",
        ),
        (
            "image_class_labels.txt",
            "1 1\n2 3\n",
            "line 2: expected the number 2 and a class from 1",
        ),
        ("image_class_labels.txt", "1 1\n2 0\n", "got '2 0'"),
        ("image_class_labels.txt", "1 1\n2 two\n", "got '2 two'"),
        ("image_class_labels.txt", "1 1\n2 2\n", "ends at line 2, but"),
        ("image_class_labels.txt", "".join(f"{i} 1\n" for i in range(1, 7)), "has no train image"),
        ("train_test_split.txt", "1 1\n2 2\n", "line 2: expected the number 2 and 1 (train) or 0"),
        ("train_test_split.txt", "".join(f"{i} 1\n" for i in range(1, 8)), "ends at line 7, but"),
        ("train_test_split.txt", "".join(f"{i} 1\n" for i in range(1, 7)), "has no val image"),
    ],
)
def test_spoilt_lists_of_cub_are_told_with_their_line(
    name: str, text: str | None, sentence: str, tmp_path: Path
) -> None:
    write_cub(tmp_path)
    if text is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(text)
    assert sentence in refused(tmp_path, None)


def test_lists_of_cub_that_are_no_text_are_refused(tmp_path: Path) -> None:
    write_cub(tmp_path)
    (tmp_path / "images.txt").write_bytes(b"1 \xff\xfe\n")
    assert "images.txt cannot be read" in refused(tmp_path, None)


def test_a_folder_of_nothing_known_says_what_would_be(tmp_path: Path) -> None:
    assert "nor the lists of CUB-200-2011" in refused(tmp_path, None)


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    """Pillow alone would clip them, so that nearly all pictures were white."""
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257
    Image.fromarray(levels).save(tmp_path / "deep.png")
    assert np.array_equal(read_square(tmp_path / "deep.png", 16), np.tile(levels >> 8, (3, 1, 1)))
