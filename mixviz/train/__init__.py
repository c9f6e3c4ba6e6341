"""Training and judging small classifiers: ``python -m mixviz.train --help``.

``sources`` finds labelled images, ``shelf`` hands them out, ``augment`` varies them on the device,
``objective`` says what a step lowers and ``agent`` what RL-Mix learns beside it, ``recipe`` what
decides a run (``schedule``, ``presets``), ``work`` is one step, ``feed`` the way to it, ``fit`` the
epochs, ``checkpoint``, ``sheet`` and ``board`` save (no pickle anywhere), ``judge`` measures,
``flags`` and ``command`` are the command line.
``sweep`` trains a grid of settings, ``overhead`` measures what mixing costs a step.
"""
