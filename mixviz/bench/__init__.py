"""Measurements; nothing in the app imports them.

`python -m mixviz.bench` prints one table per topic; `masks steps algorithm1 saliency browser` name
the topics. Set OMP_NUM_THREADS=1, as the app runs.
"""
