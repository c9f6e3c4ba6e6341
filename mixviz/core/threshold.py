"""From which price on nothing moves: the largest ξ at which a visible block still does."""

import numpy as np
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment

from mixviz.core.transport import distance_cost


def largest_moving_xi(
    saliency: Float64[np.ndarray, "n n"], share: Float64[np.ndarray, "n n"]
) -> float:
    """Return the ξ below which eq. 5 is better served by moving than by the identity.

    A plan with gain g in exposed saliency and distance d beats the identity for ξ < g/d. The
    largest such ratio is found by Dinkelbach's iteration, from the best exchange of two blocks;
    each step is one assignment. 0 when nothing can be gained.

    Args:
        saliency: per block, sums to 1.
        share: of the image at each place, z for image 1 and 1 − z for image 0.
    """
    n = len(saliency)
    s, z, distance = saliency.ravel(), share.ravel(), distance_cost(n)
    if n == 1:
        return 0.0
    gain = np.subtract.outer(s, s) * np.subtract.outer(z, z).T
    ratio = np.divide(gain, 2 * distance, out=np.zeros_like(gain), where=distance > 0)
    xi = max(float(ratio.max()), 0.0)
    # Each round strictly raises ξ along plans, of which there are finitely many; in practice two.
    for _ in range(20):
        block, place = linear_sum_assignment(xi * distance - np.outer(s, z))
        moved = distance[block, place].sum()
        if moved == 0:
            break
        better = float(((s[block] * z[place]).sum() - (s * z).sum()) / moved)
        if better <= xi * (1 + 1e-9):
            break
        xi = better
    return xi
