"""The menu of methods. To add one: write its module, then list it here."""

from collections.abc import Mapping
from types import MappingProxyType

from mixviz.methods import guidedmixup, input_mixup, puzzle_mix
from mixviz.methods.base import Method

METHODS: Mapping[str, Method] = MappingProxyType(
    {module.METHOD.slug: module.METHOD for module in (input_mixup, puzzle_mix, guidedmixup)}
)
