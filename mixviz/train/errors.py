"""Problems told to the user as one sentence, never as a traceback."""


class DataError(Exception):
    """The request or the data cannot be used as they are (exit code 2)."""


class TrainingError(Exception):
    """A run that had begun cannot go on (exit code 1)."""
