"""Loops compiled by numba, kept in a disk cache, done without where numba does not work.

Modules of kernels decorate their functions with `compiled` and offer a `warm()` that runs each
once on tiny input; everybody else asks `load_kernels` for the module and has a slower way ready.
The cache lies in `NUMBA_CACHE_DIR` if set, else beside the module, else in the user's cache
directory, whichever can be written first.
"""

import importlib
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

KERNELS = ("cut", "assign")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile to machine code that stays on disk, or in memory where nothing can be written.

    Raises:
        ImportError: if numba is not installed.
    """
    numba = importlib.import_module("numba")
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # numba's "no locator available": source tree and home are read-only
        return numba.njit(nogil=True)(function)


@cache
def load_kernels(name: str) -> ModuleType | None:
    """The compiled module `mixviz.core.<name>`, or None where it cannot be compiled."""
    try:
        kernels = importlib.import_module(f"mixviz.core.{name}")
        kernels.warm()
    except Exception:  # whatever a compiler, its libraries or its cache may raise
        return None
    return kernels


def warm() -> str:
    """Compile every kernel into the disk cache, so that no visitor waits; returns the engine."""
    modules = [load_kernels(name) for name in KERNELS]
    return "numba" if all(modules) else "SciPy"
