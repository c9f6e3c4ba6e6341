"""Pictures on the disk of whoever runs the server: a folder of files, or Parquet shards.

Where they lie is said by an environment variable, never by a visitor. The bytes are decoded by the
same hardened decoder as uploads.
"""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from mixviz.samples.decode import MAX_BYTES, UploadError, decode_upload
from mixviz.samples.picture import Picture

VARIABLE = "MIXVIZ_PICTURES"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MOST_FILES = 200_000


class LocalError(ValueError):
    """The pictures that the server names cannot be used; one sentence for people."""


@dataclass(frozen=True, eq=False)
class Local:
    """Pictures that lie on the server, none of them decoded yet.

    Attributes:
        name: of the folder or file, without the way to it.
        class_of: by picture, the name of its class; "" where it has none.
        read: bytes and a name of the pictures asked for, in an order of its own.
    """

    name: str
    class_of: tuple[str, ...]
    read: Callable[[Iterable[int]], Iterator[tuple[int, bytes, str]]]

    def __len__(self) -> int:
        return len(self.class_of)


def named_place() -> Path | None:
    """Return the folder or file that the server names, None without one."""
    text = os.environ.get(VARIABLE, "")
    return Path(text) if text else None


@lru_cache(maxsize=4)
def open_local(place: Path) -> Local:
    """List the pictures of a folder or of Parquet shards.

    A folder holds Parquet shards (those of a validation split are preferred) or picture files;
    the folder that a file lies in names its class. Shards hold a column "image" of structs with
    "bytes", and may hold "label", named by a `classes.tsv` beside them.

    Raises:
        LocalError: when it is neither, or holds no picture.
    """
    if place.suffix == ".parquet" and place.is_file():
        return _open_shards([place])
    if not place.is_dir():
        raise LocalError(f"{VARIABLE} names no folder and no .parquet file: {place.name}")
    shards = sorted(place.glob("*.parquet"))
    if shards:
        return _open_shards([one for one in shards if one.name.startswith("val")] or shards)
    return _open_folder(place)


def decode_local(local: Local, wanted: Iterable[int]) -> tuple[dict[int, Picture], list[str]]:
    """Decode pictures by their index; also return a sentence for each that cannot be."""
    found: dict[int, Picture] = {}
    problems: list[str] = []
    for index, data, name in local.read(wanted):
        try:
            found[index] = decode_upload(data, name)
        except UploadError as problem:
            problems.append(str(problem))
    return found, problems


def _class_names(folder: Path) -> tuple[list[str], Mapping[str, str]]:
    """Return class names by label, and by WordNet id; each is the first of its synonyms."""
    path = folder / "classes.tsv"
    if not path.is_file():
        return [], {}
    with path.open(encoding="utf-8", newline="") as lines:
        table = [row for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    if any(len(row) != 3 for row in table):
        raise LocalError(f"{path.name} beside the pictures needs label, WordNet id and name a line")
    first = [row[2].split(",")[0].strip() for row in table]
    names = [
        one if first.count(one) == 1 else row[2] for one, row in zip(first, table, strict=True)
    ]
    return names, {row[1]: name for row, name in zip(table, names, strict=True)}


def _open_folder(folder: Path) -> Local:
    _, by_id = _class_names(folder)
    files: list[Path] = []
    for base, folders, names in os.walk(folder):
        folders.sort()
        files += [Path(base, one) for one in sorted(names) if one.lower().endswith(SUFFIXES)]
        if len(files) >= MOST_FILES:
            break
    if not files:
        raise LocalError(
            f"{VARIABLE} names a folder without {' '.join(SUFFIXES)} or .parquet files"
        )
    parents = [file.parent.name if file.parent != folder else "" for file in files]
    classes = tuple(by_id.get(name, name) for name in parents)
    return Local(folder.resolve().name, classes, partial(_read_files, files))


def _read_files(files: list[Path], wanted: Iterable[int]) -> Iterator[tuple[int, bytes, str]]:
    for index in wanted:
        with files[index].open("rb") as file:
            # One byte more than allowed: the decoder then says that it is too large.
            yield index, file.read(MAX_BYTES + 1), files[index].name


def _open_shards(shards: list[Path]) -> Local:
    # Imported here, as most servers name no shards.
    import pyarrow as pa
    import pyarrow.parquet as pq

    names, _ = _class_names(shards[0].parent)
    classes: list[str] = []
    counts: list[int] = []
    for shard in shards:
        try:
            schema = pq.read_schema(shard)
            image = schema.field("image").type if "image" in schema.names else None
            if image is None or not pa.types.is_struct(image) or image.get_field_index("bytes") < 0:
                raise LocalError(f"{shard.name} has no column image with bytes")
            counts.append(pq.read_metadata(shard).num_rows)
            labels = [None] * counts[-1]
            if "label" in schema.names:
                labels = pq.read_table(shard, columns=["label"])["label"].to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise LocalError(f"{shard.name} is no readable Parquet file") from error
        classes += [_name_of(label, names) for label in labels]
    if not classes:
        raise LocalError(f"{shards[0].name} holds no rows")
    name = shards[0].name if len(shards) == 1 else shards[0].resolve().parent.name
    return Local(name, tuple(classes), partial(_read_rows, shards, counts))


def _name_of(label: object, names: list[str]) -> str:
    return names[label] if isinstance(label, int) and 0 <= label < len(names) else ""


def _read_rows(
    shards: list[Path], counts: list[int], wanted: Iterable[int]
) -> Iterator[tuple[int, bytes, str]]:
    import pyarrow.parquet as pq

    asked, start = sorted(set(wanted)), 0
    for shard, count in zip(shards, counts, strict=True):
        here = [index for index in asked if start <= index < start + count]
        if here:
            with pq.ParquetFile(shard) as file:
                row = start
                for group in range(file.num_row_groups):
                    end = row + file.metadata.row_group(group).num_rows
                    inside = [index for index in here if row <= index < end]
                    if inside:
                        read = file.read_row_group(group, columns=["image.bytes"])["image"]
                        encoded = read.combine_chunks().field("bytes")
                        for index in inside:
                            data = encoded[index - row].as_py() or b""
                            yield index, data, f"{shard.stem}-{index - start}"
                    row = end
        start += count
