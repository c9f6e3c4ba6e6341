"""Training and judging small classifiers: ``python -m mixviz.train --help``.

``sources`` reads labelled images, ``augment`` varies them on the device, ``objective`` says what
a step lowers, ``recipe`` trains, ``checkpoint`` saves (no pickle anywhere), ``judge`` measures,
``command`` is the command line.
``overhead`` measures what mixing costs a step: ``python -m mixviz.train.overhead --help``.
"""
