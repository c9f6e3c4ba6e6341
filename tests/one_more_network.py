"""``python -m mixviz.train`` with one more network, of no norms: its batch can be split at will.

Fails where a thread that talks to other processes is left: it may abort the process as it ends.
"""

import sys
from pathlib import Path

from torch import nn

from mixviz.networks import NETWORKS, SmallNetwork
from mixviz.train.command import main


class Plain(SmallNetwork):
    """Two convolutions and a head."""

    def __init__(self, num_classes: int) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, 2, padding=1),
            [nn.Sequential(nn.ReLU(), nn.Conv2d(8, 16, 3, 2, padding=1), nn.ReLU())],
        )
        self._close(16, num_classes)


def talkers() -> list[str]:
    """Names of this process's threads that belong to gloo; none where there is no Linux."""
    threads = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
    return [name for name in threads if "gloo" in name]


if __name__ == "__main__":
    NETWORKS["plain"] = Plain
    code = main(sys.argv[1:])
    raise SystemExit(f"threads left: {talkers()}" if talkers() else code)
