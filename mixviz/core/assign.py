"""Assignment of blocks to places under eq. (5), compiled.

Costs are c_ij = xi d_ij - s_i z_j for block i on place j and never stored: a row is made when it
is looked at, and most rows are looked at once, within the distance that their saliency can pay.

Importing this module needs numba; `mixviz.core.transport` does without where it is missing.
"""

from typing import no_type_check

import numpy as np

from mixviz.core.compiled import compiled


@compiled
@no_type_check
def assign(saliency, share, xi, distance, n):
    """Place of least total cost for every block, by shortest augmenting paths.

    Jonker & Volgenant (Computing 1987): rows take their cheapest column; conflicts are settled by
    raising the price of contested columns (augmenting row reduction); rows still without a column
    get one along a shortest path. Prices v <= 0 and row minima u prove optimality at the end:
    u_i + v_j <= c_ij everywhere, with equality on the plan.

    Returns:
        source[b, j], the block that lands on place j.
    """
    batch, blocks = saliency.shape
    source = np.empty((batch, blocks), np.int64)
    place = np.empty(blocks, np.int64)
    free = np.empty(blocks, np.int64)
    u = np.empty(blocks)
    v = np.empty(blocks)
    shortest = np.empty(blocks)
    path = np.empty(blocks, np.int64)
    todo = np.empty(blocks, np.int64)
    rows = np.empty(blocks, np.int64)
    for b in range(batch):
        s = saliency[b]
        z = share[b]
        weight = xi[b]
        block = source[b]
        v[:] = 0.0
        block[:] = -1
        # A block gains at most s_i by moving: only places with xi d_ij < s_i can beat its own.
        for i in range(blocks):
            row = i // n
            column = i % n
            reach = int(min(np.sqrt(s[i] / weight) * (n - 1) + 1.0, n))
            best = -s[i] * z[i]
            chosen = i
            for r in range(max(0, row - reach), min(n, row + reach + 1)):
                for k in range(max(0, column - reach), min(n, column + reach + 1)):
                    j = r * n + k
                    cost = weight * distance[i, j] - s[i] * z[j]
                    if cost < best:
                        best = cost
                        chosen = j
            place[i] = chosen
            u[i] = best
            if chosen == i:
                block[i] = i
        count = 0
        for i in range(blocks):
            j = place[i]
            if j != i and block[j] < 0:
                block[j] = i
            elif block[j] != i:
                place[i] = -1
                free[count] = i
                count += 1

        # Each bid makes a contested column as dear as the bidder's second choice.
        for _ in range(2):
            bidders = count
            count = 0
            k = 0
            bids = 4 * blocks
            while k < bidders and bids > 0:
                bids -= 1
                i = free[k]
                k += 1
                first = np.inf
                second = np.inf
                j1 = -1
                j2 = -1
                for j in range(blocks):
                    cost = weight * distance[i, j] - s[i] * z[j] - v[j]
                    if cost < second:
                        if cost < first:
                            second = first
                            j2 = j1
                            first = cost
                            j1 = j
                        else:
                            second = cost
                            j2 = j
                before = block[j1]
                if first < second < np.inf:
                    v[j1] -= second - first
                    u[i] = second
                else:
                    u[i] = first
                    if before >= 0 and j2 >= 0:
                        j1 = j2
                        before = block[j1]
                place[i] = j1
                block[j1] = i
                if before >= 0:
                    place[before] = -1
                    if first < second:
                        k -= 1
                        free[k] = before
                    else:
                        free[count] = before
                        count += 1
            while k < bidders:
                free[count] = free[k]
                count += 1
                k += 1

        for f in range(count):
            start = free[f]
            u[start] = 0.0
            left = blocks
            for j in range(blocks):
                shortest[j] = np.inf
                todo[j] = blocks - 1 - j
            i = start
            length = 0.0
            visited = 0
            end = -1
            while end < 0:
                rows[visited] = i
                visited += 1
                base = length - u[i]
                lowest = np.inf
                index = -1
                for k in range(left):
                    j = todo[k]
                    cost = base + weight * distance[i, j] - s[i] * z[j] - v[j]
                    if cost < shortest[j]:
                        shortest[j] = cost
                        path[j] = i
                    if shortest[j] < lowest or (shortest[j] == lowest and block[j] < 0):
                        lowest = shortest[j]
                        index = k
                length = lowest
                j = todo[index]
                if block[j] < 0:
                    end = j
                else:
                    i = block[j]
                left -= 1
                todo[index] = todo[left]
                todo[left] = j
            u[start] += length
            for k in range(1, visited):
                i = rows[k]
                u[i] += length - shortest[place[i]]
            for k in range(left, blocks):
                j = todo[k]
                v[j] -= length - shortest[j]
            j = end
            while True:
                i = path[j]
                block[j] = i
                before = place[i]
                place[i] = j
                if i == start:
                    break
                j = before
    return source


@compiled
@no_type_check
def propose(saliency, share, xi, distance):
    """Algorithm 1 for one image, in index form; the lowest index wins ties.

    Returns:
        Per round: the place each block asks for, the winner of each place (-1: nobody), the
        number of rejected blocks and the cost of the winners.
    """
    blocks = saliency.size
    capacity = 16
    targets = np.empty((capacity, blocks), np.int32)
    winners = np.empty((capacity, blocks), np.int32)
    rejections = np.empty(capacity, np.int64)
    objectives = np.empty(capacity)
    refused = np.zeros((blocks, blocks), np.bool_)
    target = np.full(blocks, -1, np.int32)
    asked = np.empty(blocks)
    asking = np.ones(blocks, np.bool_)
    rounds = 0
    while True:
        if rounds == capacity:
            capacity *= 2
            targets = np.concatenate((targets, np.empty_like(targets)))
            winners = np.concatenate((winners, np.empty_like(winners)))
            rejections = np.concatenate((rejections, np.empty_like(rejections)))
            objectives = np.concatenate((objectives, np.empty_like(objectives)))
        winner = winners[rounds]
        winner[:] = -1
        for i in range(blocks):
            if asking[i]:
                best = np.inf
                for j in range(blocks):
                    cost = xi * distance[i, j] - saliency[i] * share[j]
                    if cost < best and not refused[i, j]:
                        best = cost
                        target[i] = j
                asked[i] = best
                asking[i] = False
            j = target[i]
            if winner[j] < 0 or asked[i] < asked[winner[j]]:
                winner[j] = i
        rejected = 0
        objective = 0.0
        for i in range(blocks):
            j = target[i]
            if winner[j] == i:
                objective += asked[i]
            else:
                rejected += 1
                refused[i, j] = True
                asking[i] = True
        targets[rounds] = target
        rejections[rounds] = rejected
        objectives[rounds] = objective
        rounds += 1
        if rejected == 0:
            return targets[:rounds], winners[:rounds], rejections[:rounds], objectives[:rounds]


def warm() -> None:
    """Compile everything, or load it from the disk cache."""
    one = np.full((1, 1), 0.5)
    assign(one, one, np.ones(1), one, 1)
    propose(one[0], one[0], 1.0, one)
