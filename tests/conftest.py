"""Shapes are checked while the tests run: every annotated call of core and methods."""

from hypothesis import settings
from jaxtyping import install_import_hook

# Before any test module imports the packages; the checker stands in a module of its own, as the
# hook takes a name.
install_import_hook(["mixviz.core", "mixviz.methods"], "shape_checker.check")

# The same examples in every run: a test that fails does so for everybody.
settings.register_profile("mixviz", deadline=None, derandomize=True)
settings.load_profile("mixviz")
