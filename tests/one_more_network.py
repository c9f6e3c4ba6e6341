"""``python -m mixviz.train`` with one more network, of no norms: its batch can be split at will."""

import sys

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


if __name__ == "__main__":
    NETWORKS["plain"] = Plain
    raise SystemExit(main(sys.argv[1:]))
