"""Photographs that lie inside the installed scikit-image and scikit-learn packages.

They are read straight from the package folders: nothing is downloaded, and neither package is
imported, so listing the samples costs no start-up time.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from mixviz.samples.picture import Picture, picture_from, shrink


@dataclass(frozen=True)
class Source:
    """A photograph shipped inside an installed package.

    Attributes:
        package: Import name of the package.
        file: Path of the file inside the package.
        title: What the photograph shows.
        author: Who made it.
        licence: Terms it is under.
    """

    package: str
    file: str
    title: str
    author: str
    licence: str

    @property
    def path(self) -> Path:
        """Where the file lies on this machine.

        Raises:
            FileNotFoundError: If the package, or the file in it, is missing.
        """
        spec = find_spec(self.package)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(
                f"The photograph {self.file!r} comes with {self.package}, which is not installed."
            )
        path = Path(spec.origin).parent / self.file
        if not path.is_file():
            raise FileNotFoundError(
                f"The photograph {self.file!r} is missing from the installed {self.package}; "
                "reinstall that package."
            )
        return path


@dataclass(frozen=True)
class Sample:
    """A named square of a bundled photograph.

    Attributes:
        slug: Name in links.
        name: Name on screen.
        source: The photograph.
        left: First column of the square, in pixels of the photograph.
        top: First row of the square, in pixels of the photograph.
        side: Side of the square, in pixels of the photograph.
    """

    slug: str
    name: str
    source: Source
    left: int
    top: int
    side: int

    @property
    def credit(self) -> str:
        """Photograph, author and licence in one line."""
        return f"{self.source.title}: {self.source.author}, {self.source.licence}"


SOURCES = {
    source.file: source
    for source in (
        Source("skimage", "data/chelsea.png", "Chelsea the cat", "Stefan van der Walt", "CC0"),
        Source("skimage", "data/coffee.png", "Coffee", "Rachel Michetti", "CC0"),
        Source(
            "skimage",
            "data/motorcycle_left.png",
            "Motorcycle",
            "D. Scharstein et al.",
            "Middlebury Stereo 2014 (GCPR 2014), no licence stated",
        ),
        Source("skimage", "data/rocket.jpg", "Falcon 9 with DSCOVR", "SpaceX", "public domain"),
        Source("sklearn", "datasets/images/china.jpg", "Temple", "danielbuechele", "CC BY 2.0"),
        Source("sklearn", "datasets/images/flower.jpg", "Dahlia", "vultilion", "CC BY 2.0"),
        Source("skimage", "data/astronaut.png", "Eileen Collins", "NASA", "public domain"),
        Source("skimage", "data/retina.jpg", "Retina", "Mikael Häggström", "CC0"),
        Source(
            "skimage",
            "data/hubble_deep_field.jpg",
            "Hubble eXtreme Deep Field",
            "NASA",
            "public domain",
        ),
        Source(
            "skimage",
            "data/ihc.png",
            "Colon tissue",
            "Center for Microscopy and Molecular Imaging",
            "no known copyright restrictions",
        ),
    )
}
"""Every photograph the samples are cut from, by its path inside its package."""


def _sample(slug: str, name: str, file: str, left: int, top: int, side: int) -> Sample:
    return Sample(slug, name, SOURCES[file], left, top, side)


SAMPLES = {
    sample.slug: sample
    for sample in (
        _sample("cat", "Cat", "data/chelsea.png", 62, 0, 300),
        _sample("coffee", "Coffee", "data/coffee.png", 80, 0, 400),
        _sample("motorcycle", "Motorcycle", "data/motorcycle_left.png", 195, 0, 500),
        _sample("rocket", "Rocket", "data/rocket.jpg", 185, 118, 290),
        _sample("temple", "Temple", "datasets/images/china.jpg", 20, 0, 427),
        _sample("dahlia", "Dahlia", "datasets/images/flower.jpg", 140, 55, 330),
        _sample("astronaut", "Astronaut", "data/astronaut.png", 0, 0, 512),
        _sample("shuttle", "Space shuttle", "data/astronaut.png", 312, 0, 200),
        _sample("cup", "Cup", "data/coffee.png", 155, 5, 260),
        _sample("front-wheel", "Front wheel", "data/motorcycle_left.png", 470, 200, 271),
        _sample("rear-wheel", "Rear wheel", "data/motorcycle_left.png", 80, 160, 300),
        _sample("engine", "Engine", "data/motorcycle_left.png", 240, 130, 270),
        _sample("portrait", "Portrait", "data/astronaut.png", 110, 5, 230),
        _sample("launch-pad", "Launch pad", "data/rocket.jpg", 115, 0, 427),
        _sample("roof", "Temple roof", "datasets/images/china.jpg", 75, 5, 270),
        _sample("petals", "Petals", "datasets/images/flower.jpg", 205, 120, 200),
        _sample("eye", "Cat’s eye", "data/chelsea.png", 104, 50, 150),
        _sample("retina", "Retina", "data/retina.jpg", 0, 0, 1411),
        _sample("optic-disc", "Optic disc", "data/retina.jpg", 30, 430, 500),
        _sample("galaxies", "Galaxies", "data/hubble_deep_field.jpg", 640, 380, 260),
        _sample("tissue", "Tissue", "data/ihc.png", 0, 0, 512),
        _sample("gland", "Gland", "data/ihc.png", 215, 320, 192),
    )
}
"""The bundled squares in the order to offer them, by slug."""


@lru_cache(maxsize=len(SAMPLES))
def load_sample(slug: str) -> Picture:
    """Read a bundled square.

    Args:
        slug: A key of `SAMPLES`.

    Returns:
        The square as a picture, at the photograph's own resolution.

    Raises:
        ValueError: If there is no such sample.
        FileNotFoundError: If the photograph is not where its package puts it.
    """
    sample = SAMPLES.get(slug)
    if sample is None:
        raise ValueError(f"There is no sample {slug[:40]!r}; allowed are {', '.join(SAMPLES)}.")
    left, top, side = sample.left, sample.top, sample.side
    with Image.open(sample.source.path) as photograph:
        square = photograph.convert("RGB").crop((left, top, left + side, top + side))
    return picture_from(shrink(square), sample.name, sample.credit, "sample")
