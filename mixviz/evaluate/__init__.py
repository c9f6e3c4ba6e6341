"""Judges trained classifiers by the measures of the papers: ``python -m mixviz.evaluate``."""
