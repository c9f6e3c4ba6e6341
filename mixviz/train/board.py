"""TensorBoard's view of a run; the package is asked for only where it is wanted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixviz.train.errors import DataError, TrainingError
from mixviz.train.sheet import Sheet

FOLDER = "tensorboard"


class Board:
    """Writes a run's log and the batches it sees for ``tensorboard --logdir RUNDIR``."""

    def __init__(self, folder: Path, epochs: int = 0) -> None:
        """Begin, or go on after so many epochs.

        Raises:
            DataError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise DataError(
                "--tensorboard needs a package: pip install -r requirements-train.txt"
            ) from error
        self._folder = folder / FOLDER
        # What an interrupted run wrote of later epochs is struck out.
        self._writer = SummaryWriter(str(self._folder), purge_step=epochs + 1)

    def add(self, row: dict[str, float]) -> None:
        """Add an epoch of the log.

        Raises:
            TrainingError: it cannot be written.
        """
        with self._told():
            for name, value in row.items():
                if name != "epoch":
                    self._writer.add_scalar(name, value, int(row["epoch"]))
            self._writer.flush()

    def show(self, sheet: Sheet) -> None:
        """Add the batch that an epoch began with.

        Raises:
            TrainingError: it cannot be written.
        """
        lines = [", ".join(f"{name} {weight:.0%}" for name, weight in one) for one in sheet.labels]
        with self._told():
            self._writer.add_image("batch", sheet.pixels, sheet.epoch, dataformats="HWC")
            self._writer.add_text("labels", "  \n".join(lines), sheet.epoch)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise TrainingError(f"cannot write {self._folder}: {error.strerror}") from error
