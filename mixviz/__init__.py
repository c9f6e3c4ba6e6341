"""See, block by block, what saliency-guided mixup does to a pair of pictures."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixviz.detectors import check

__all__ = ["check"]


def __getattr__(name: str) -> object:
    """Import `check` when it is asked for: it brings torch along."""
    if name == "check":
        from mixviz.detectors import check

        return check
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
