"""The run-time type checker of the tests: an int passes for a float, as Python itself has it."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
