"""How sure a share is: the interval that belongs to k of n."""

Z_90 = 1.6448536269514722
"""Standard normal deviate of a two-sided 90 % interval."""


def wilson(successes: float, n: int, z: float = Z_90) -> tuple[float, float]:
    """Wilson's score interval (1927) for a share, both ends in 0..1; (0, 1) where n is 0.

    Half a success, as a tie counts, is allowed.
    """
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)
