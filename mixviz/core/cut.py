"""Minimum cuts on a grid, compiled.

A grid is stored with a border of one unused node on every side, so that a node's neighbours are
at fixed offsets and nothing asks for the edge of the picture; arcs to the border have capacity 0.
Capacities are integers: a cut is then exact, and "reachable from the source" means what it says.

The maximum flow is found by two search trees that grow towards each other and are repaired
rather than rebuilt after each augmentation (Boykov & Kolmogorov, PAMI 2004). When it stops, the
source tree is exactly the set reachable from the source in the residual graph: the *smallest*
source side among all minimum cuts.

Importing this module needs numba; `mixviz.core.mask` does without where it is missing.
"""

from typing import no_type_check

import numpy as np

from mixviz.core.compiled import compiled

FREE, SOURCE, SINK = 0, 1, 2  # which tree holds a node
NONE, TERMINAL, ORPHAN = -1, 4, 5  # a node's parent, besides a direction 0..3
DEEP = 1 << 30


@compiled
@no_type_check
def grow_source_side(
    offsets, residual, terminal, tree, parent, stamp, depth, queue, waiting, orphans
):
    """Saturate the graph; afterwards `tree == SOURCE` marks the smallest source side.

    residual[4 p + d] is the capacity left from p to p + offsets[d]; direction d ^ 1 is the way
    back. terminal[p] > 0 is capacity left from the source, < 0 to the sink.
    """
    size = terminal.size
    head = 0
    tail = 0
    clock = 0
    for p in range(size):
        waiting[p] = False
        stamp[p] = 0
        depth[p] = 1
        if terminal[p] == 0:
            tree[p] = FREE
            parent[p] = NONE
        else:
            tree[p] = SOURCE if terminal[p] > 0 else SINK
            parent[p] = TERMINAL
            waiting[p] = True
            queue[tail] = p
            tail += 1
    count = tail
    if tail == size:
        tail = 0

    while count > 0:
        p = queue[head]
        side = tree[p]
        tailnode = -1
        if side != FREE:
            for d in range(4):
                q = p + offsets[d]
                left = residual[4 * p + d] if side == SOURCE else residual[4 * q + (d ^ 1)]
                if left <= 0:
                    continue
                if tree[q] == FREE:
                    tree[q] = side
                    parent[q] = d ^ 1
                    stamp[q] = stamp[p]
                    depth[q] = depth[p] + 1
                    if not waiting[q]:
                        waiting[q] = True
                        queue[tail] = q
                        tail += 1
                        if tail == size:
                            tail = 0
                        count += 1
                elif tree[q] != side:
                    if side == SOURCE:
                        tailnode = p
                        headnode = q
                        middle = 4 * p + d
                    else:
                        tailnode = q
                        headnode = p
                        middle = 4 * q + (d ^ 1)
                    break
                elif stamp[q] <= stamp[p] and depth[q] > depth[p]:
                    parent[q] = d ^ 1
                    stamp[q] = stamp[p]
                    depth[q] = depth[p] + 1
        if tailnode < 0:
            waiting[p] = False
            head += 1
            if head == size:
                head = 0
            count -= 1
            continue

        clock += 1
        # The bottleneck of the path source .. tailnode -> headnode .. sink.
        flow = residual[middle]
        x = tailnode
        while parent[x] != TERMINAL:
            d = parent[x]
            y = x + offsets[d]
            flow = min(flow, residual[4 * y + (d ^ 1)])
            x = y
        flow = min(flow, terminal[x])
        x = headnode
        while parent[x] != TERMINAL:
            d = parent[x]
            flow = min(flow, residual[4 * x + d])
            x = x + offsets[d]
        flow = min(flow, -terminal[x])

        # Push it; nodes whose link to their parent fills up become orphans.
        waiting_orphans = 0
        d = (middle & 3) ^ 1
        residual[middle] -= flow
        residual[4 * headnode + d] += flow
        x = tailnode
        while parent[x] != TERMINAL:
            d = parent[x]
            y = x + offsets[d]
            residual[4 * x + d] += flow
            residual[4 * y + (d ^ 1)] -= flow
            if residual[4 * y + (d ^ 1)] == 0:
                parent[x] = ORPHAN
                orphans[waiting_orphans] = x
                waiting_orphans += 1
            x = y
        terminal[x] -= flow
        if terminal[x] == 0:
            parent[x] = ORPHAN
            orphans[waiting_orphans] = x
            waiting_orphans += 1
        x = headnode
        while parent[x] != TERMINAL:
            d = parent[x]
            y = x + offsets[d]
            residual[4 * y + (d ^ 1)] += flow
            residual[4 * x + d] -= flow
            if residual[4 * x + d] == 0:
                parent[x] = ORPHAN
                orphans[waiting_orphans] = x
                waiting_orphans += 1
            x = y
        terminal[x] += flow
        if terminal[x] == 0:
            parent[x] = ORPHAN
            orphans[waiting_orphans] = x
            waiting_orphans += 1

        # Give every orphan the nearest parent with a path to its terminal, or set it free.
        while waiting_orphans > 0:
            waiting_orphans -= 1
            p = orphans[waiting_orphans]
            side = tree[p]
            best = DEEP
            chosen = NONE
            for d in range(4):
                q = p + offsets[d]
                left = residual[4 * q + (d ^ 1)] if side == SOURCE else residual[4 * p + d]
                if left <= 0 or tree[q] != side:
                    continue
                steps = 0
                x = q
                while True:
                    if stamp[x] == clock:
                        steps += depth[x]
                        break
                    e = parent[x]
                    steps += 1
                    if e == TERMINAL:
                        stamp[x] = clock
                        depth[x] = 1
                        break
                    if e == ORPHAN:
                        steps = DEEP
                        break
                    x = x + offsets[e]
                if steps < DEEP:
                    if steps < best:
                        best = steps
                        chosen = d
                    x = q
                    while stamp[x] != clock:
                        stamp[x] = clock
                        depth[x] = steps
                        steps -= 1
                        x = x + offsets[parent[x]]
            parent[p] = chosen
            if chosen != NONE:
                stamp[p] = clock
                depth[p] = best + 1
                continue
            tree[p] = FREE
            for d in range(4):
                q = p + offsets[d]
                if tree[q] != side:
                    continue
                left = residual[4 * q + (d ^ 1)] if side == SOURCE else residual[4 * p + d]
                if left > 0 and not waiting[q]:
                    waiting[q] = True
                    queue[tail] = q
                    tail += 1
                    if tail == size:
                        tail = 0
                    count += 1
                if parent[q] == (d ^ 1):
                    parent[q] = ORPHAN
                    orphans[waiting_orphans] = q
                    waiting_orphans += 1


@compiled
@no_type_check
def climb(slopes, low, high, right, down):
    """Smallest minimiser of a convex mask energy, by steepest ascent from the lowest labels.

    slopes[b, i, j, t] is the cost of going from label t to t + 1 at that block (non-decreasing in
    t); labels stay in low..high; an edge costs weight times the squared label difference.
    """
    batch, n = slopes.shape[:2]
    stride = n + 2
    size = stride * stride
    labels = np.empty((batch, n, n), np.int64)
    offsets = np.array([1, -1, stride, -stride], np.int64)
    weight = np.zeros(4 * size, np.int64)
    residual = np.zeros(4 * size, np.int64)
    terminal = np.zeros(size, np.int64)
    label = np.zeros(size, np.int64)
    tree = np.zeros(size, np.int8)
    parent = np.zeros(size, np.int8)
    stamp = np.zeros(size, np.int32)
    depth = np.zeros(size, np.int32)
    queue = np.zeros(size, np.int32)
    waiting = np.zeros(size, np.bool_)
    orphans = np.zeros(size, np.int32)
    for b in range(batch):
        for i in range(n):
            for j in range(n):
                p = (i + 1) * stride + j + 1
                label[p] = low[b, i, j]
                if j + 1 < n:
                    weight[4 * p] = right[b, i, j]
                    weight[4 * p + 5] = right[b, i, j]
                if i + 1 < n:
                    weight[4 * p + 2] = down[b, i, j]
                    weight[4 * (p + stride) + 3] = down[b, i, j]
        while True:
            for i in range(n):
                for j in range(n):
                    p = (i + 1) * stride + j + 1
                    around = 0
                    change = 0
                    for d in range(4):
                        w = weight[4 * p + d]
                        residual[4 * p + d] = w
                        around += w
                        change += 2 * w * (label[p] - label[p + offsets[d]])
                    if label[p] < high[b, i, j]:
                        change += slopes[b, i, j, label[p]]
                    else:
                        change = around + 1  # more than its edges can pay: it stays
                    terminal[p] = -change
            grow_source_side(
                offsets, residual, terminal, tree, parent, stamp, depth, queue, waiting, orphans
            )
            moved = False
            for p in range(size):
                if tree[p] == SOURCE:
                    label[p] += 1
                    moved = True
            if not moved:
                break
        for i in range(n):
            for j in range(n):
                labels[b, i, j] = label[(i + 1) * stride + j + 1]
    return labels


@compiled
@no_type_check
def sweep(labels, costs, right, down):
    """One sweep of alpha-beta swaps over the pairs (0, m), (0, m - 1), .., (m - 1, m).

    Each move keeps alpha where a swap gains nothing. A label costs[i, j, t] < 0 is forbidden.

    Returns:
        The labels after each move (moves, n, n), and how many blocks each move changed (moves,).
    """
    n, _, count = costs.shape
    levels = count - 1
    moves = levels * (levels + 1) // 2
    trail = np.empty((moves, n, n), np.int16)
    changed = np.zeros(moves, np.int64)
    stride = n + 2
    size = stride * stride
    offsets = np.array([1, -1, stride, -stride], np.int64)
    weight = np.zeros(4 * size, np.int64)
    residual = np.zeros(4 * size, np.int64)
    terminal = np.zeros(size, np.int64)
    label = np.full(size, -1, np.int64)
    tree = np.zeros(size, np.int8)
    parent = np.zeros(size, np.int8)
    stamp = np.zeros(size, np.int32)
    depth = np.zeros(size, np.int32)
    queue = np.zeros(size, np.int32)
    waiting = np.zeros(size, np.bool_)
    orphans = np.zeros(size, np.int32)
    for i in range(n):
        for j in range(n):
            p = (i + 1) * stride + j + 1
            label[p] = labels[i, j]
            if j + 1 < n:
                weight[4 * p] = right[i, j]
                weight[4 * p + 5] = right[i, j]
            if i + 1 < n:
                weight[4 * p + 2] = down[i, j]
                weight[4 * (p + stride) + 3] = down[i, j]
    move = 0
    for alpha in range(levels):
        for beta in range(levels, alpha, -1):
            jump = (beta - alpha) ** 2
            for i in range(n):
                for j in range(n):
                    p = (i + 1) * stride + j + 1
                    terminal[p] = 0
                    for d in range(4):
                        residual[4 * p + d] = 0
                    if label[p] not in (alpha, beta):
                        continue
                    around = 0
                    change = 0
                    for d in range(4):
                        w = weight[4 * p + d]
                        other = label[p + offsets[d]]
                        if other in (alpha, beta):
                            residual[4 * p + d] = w * jump
                            around += w * jump
                        elif w > 0:
                            change += w * ((beta - other) ** 2 - (alpha - other) ** 2)
                    if costs[i, j, beta] < 0:
                        terminal[p] = -(around + 1)  # more than its edges can pay: it stays
                    elif costs[i, j, alpha] < 0:
                        terminal[p] = around + 1
                    else:
                        terminal[p] = -(change + costs[i, j, beta] - costs[i, j, alpha])
            grow_source_side(
                offsets, residual, terminal, tree, parent, stamp, depth, queue, waiting, orphans
            )
            for i in range(n):
                for j in range(n):
                    p = (i + 1) * stride + j + 1
                    if label[p] in (alpha, beta):
                        after = beta if tree[p] == SOURCE else alpha
                        if after != label[p]:
                            changed[move] += 1
                            label[p] = after
                    trail[move, i, j] = label[p]
            move += 1
    return trail, changed


def warm() -> None:
    """Compile everything, or load it from the disk cache."""
    zeros = np.zeros((1, 2, 2), np.int64)
    edges = np.zeros((1, 2, 1), np.int64), np.zeros((1, 1, 2), np.int64)
    climb(np.ones((1, 2, 2, 1), np.int64), zeros, zeros + 1, *edges)
    sweep(zeros[0], np.zeros((2, 2, 2), np.int64), edges[0][0], edges[1][0])
