"""Small systems of normal equations with no negative unknowns. Pure."""

from itertools import combinations

_SINGULAR = 1e-12


def non_negative(matrix: list[list[float]], right: list[float]) -> list[float]:
    """The x ≥ 0 that minimises x·matrix·x / 2 - right·x. Tries each set of unknowns that are zero, the fewest first:
    with three unknowns that is exact, and cheaper than anything clever."""
    size = len(right)
    best, least = [0.0] * size, 0.0
    for count in range(size, 0, -1):
        for free in combinations(range(size), count):
            solved = _solve([[matrix[i][j] for j in free] for i in free], [right[i] for i in free])
            if solved is None or min(solved) < 0:
                continue
            value = -sum(x * right[i] for x, i in zip(solved, free, strict=True)) / 2
            if value < least:
                best, least = [0.0] * size, value
                for x, i in zip(solved, free, strict=True):
                    best[i] = x
        if least < 0 and count == size:
            return best
    return best


def _solve(matrix: list[list[float]], right: list[float]) -> list[float] | None:
    """Gauss with pivots; None where it is singular."""
    size = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    scale = max(abs(value) for row in matrix for value in row) or 1.0
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        if abs(rows[pivot][column]) <= _SINGULAR * scale:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(column + 1, size):
            factor = rows[row][column] / rows[column][column]
            for index in range(column, size + 1):
                rows[row][index] -= factor * rows[column][index]
    solved = [0.0] * size
    for row in range(size - 1, -1, -1):
        known = sum(rows[row][column] * solved[column] for column in range(row + 1, size))
        solved[row] = (rows[row][size] - known) / rows[row][row]
    return solved
