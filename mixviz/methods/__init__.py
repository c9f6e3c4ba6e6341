"""The menus, of pairs and of batches. To add a method: write its module, then list it here."""

from collections.abc import Mapping
from types import MappingProxyType

from mixviz.methods import (
    augmix,
    comixup,
    cutmix,
    cutout,
    guidedmixup,
    input_mixup,
    manifold_mixup,
    puzzle_mix,
    r_mix,
    rl_mix,
    saliencymix,
    snapmix,
)
from mixviz.methods.base import Method
from mixviz.methods.batch import BatchMethod

_MODULES = (
    input_mixup,
    manifold_mixup,
    cutmix,
    cutout,
    saliencymix,
    snapmix,
    puzzle_mix,
    guidedmixup,
    r_mix,
    rl_mix,
    augmix,
)

METHODS: Mapping[str, Method] = MappingProxyType(
    {module.METHOD.slug: module.METHOD for module in _MODULES}
)
BATCH_METHODS: Mapping[str, BatchMethod] = MappingProxyType({comixup.METHOD.slug: comixup.METHOD})
