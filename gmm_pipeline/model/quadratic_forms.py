"""How likely a quadratic function of independent standard normals is positive, by inverting its Laplace transform.

With K(s) = log E exp(s Q) for Q = Σ_l (a_l z_l² + b_l z_l) + c, in closed form, P(Q > 0) = (1/2πi) ∫ exp(K(s))/s ds
along any path from below to above that crosses the real axis between 0 and the first pole of K. Imhof (1961) and Davies
(1980) integrate next to the imaginary axis, where the integrand oscillates and decays like a power. Here the path
crosses at the saddle point and bends, as a hyperbola, toward the side where exp(K) decays (Rice 1980). In v, with
s = s₀ + w (i sinh v ± tan θ (cosh v − 1)), the trapezoidal rule then converges exponentially, and small
probabilities keep their digits. Where the integrand first grows along the bent path, the path is straight and the steps
are halved until they agree.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

BEND = math.tan(math.pi / 8.0)
"""tan θ: halfway between the directions in which a Gaussian factor and an exponential one stop decaying."""
FARTHEST = 45.0
"""v at the end of a path, where the integrand is at most e^(−v/2) of its peak."""
STEPS = 2.0 ** -np.arange(4, 12)
"""Of v; the next one is used where the one before is not sure to `ACCURACY`."""
ACCURACY = 1e-8
AT_ONCE = 2**20
"""Forms × points in memory."""


def chance_of_positive(
    squares: Float[np.ndarray, "P d"], linear: Float[np.ndarray, "P d"], constants: Float[np.ndarray, " P"]
) -> Float[np.ndarray, " P"]:
    """P(Σ_l (a_l z_l² + b_l z_l) + c > 0) and half of P(… = 0), for P forms of independent standard normals z.

    Args:
        squares: a.
        linear: b.
        constants: c.
    """
    found = np.full(len(constants), np.nan)
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(np.column_stack([squares, linear, constants])).max(axis=1), np.finfo(float).tiny)
        a, b, c = squares / size[:, None], linear / size[:, None], constants / size
        # The value at the stationary point, of the terms that have one.
        extreme = c - np.sum(np.where(a == 0.0, 0.0, b**2 / (4.0 * a)), axis=1)
        flat = np.all(a == 0.0, axis=1)
        found[flat] = _normal(c[flat], np.linalg.norm(b[flat], axis=1))
        curved = ~flat & np.isfinite(extreme)
        bounded = ~np.any((a == 0.0) & (b != 0.0), axis=1)
        never = curved & bounded & np.all(a <= 0.0, axis=1) & (extreme <= 0.0)
        always = curved & bounded & np.all(a >= 0.0, axis=1) & (extreme >= 0.0)
        found[never], found[always] = 0.0, 1.0
        rest = np.flatnonzero(curved & ~never & ~always)
        # The less likely half is computed, so that its digits are kept.
        sign = np.where(a[rest].sum(axis=1) + c[rest] > 0.0, -1.0, 1.0)
        side = np.where(bounded[rest], -sign * np.sign(extreme[rest]), 0.0)
        tail = _tail(sign[:, None] * a[rest], b[rest] ** 2, sign * c[rest], side)
        found[rest] = np.clip(np.where(sign > 0.0, tail, 1.0 - tail), 0.0, 1.0)
    return found


def _normal(mean: Float[np.ndarray, " P"], deviation: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
    ratios = np.where(deviation > 0.0, mean / deviation, np.where(mean == 0.0, 0.0, np.sign(mean) * np.inf))
    return np.array([0.5 * math.erfc(-ratio / math.sqrt(2.0)) for ratio in ratios])


def _tail(
    a: Float[np.ndarray, "P d"],
    b_squared: Float[np.ndarray, "P d"],
    c: Float[np.ndarray, " P"],
    side: Float[np.ndarray, " P"],
) -> Float[np.ndarray, " P"]:
    """The chance of a positive value of forms whose mean is not positive.

    Args:
        a: of the squares.
        b_squared: of the linear terms.
        c: the constants.
        side: to which paths bend: 1 or −1, 0 for straight.
    """
    found, sure, straight = np.zeros(len(c)), np.zeros(len(c), bool), side == 0.0
    crossing, width, height = _saddle(a, b_squared, c)
    for step in STEPS:
        n_points = math.ceil(FARTHEST / step)
        chunk = max(AT_ONCE // n_points, 1)
        todo = np.flatnonzero(~sure)
        for first in range(0, len(todo), chunk):
            one = todo[first : first + chunk]
            bend = np.where(straight[one], 0.0, BEND * side[one])
            values, grows = _integrand(a[one], b_squared[one], c[one], crossing[one], width[one], bend, step)
            again = np.flatnonzero(grows & ~straight[one])
            if len(again):
                straight[one[again]] = True
                redone = one[again]
                values[again], _ = _integrand(
                    a[redone], b_squared[redone], c[redone], crossing[redone], width[redone], 0.0 * redone, step
                )
            scale = np.exp(height[one]) * step / np.pi
            found[one] = scale * values.sum(axis=1)
            sure[one] = np.abs(found[one] - 2.0 * scale * values[:, ::2].sum(axis=1)) < ACCURACY
    return np.where(sure, found, np.nan)


def _saddle(
    a: Float[np.ndarray, "P d"], b_squared: Float[np.ndarray, "P d"], c: Float[np.ndarray, " P"]
) -> tuple[Float[np.ndarray, " P"], Float[np.ndarray, " P"], Float[np.ndarray, " P"]]:
    """Where K(s) − log s is least among s > 0, the width of the peak of exp(K)/s there, and K."""
    largest = a.max(axis=1)
    low = np.full(len(c), -20.0)
    # No form is larger than one, so that the least s is not far from it; where there is no pole, e^100 is beyond any.
    high = np.where(largest > 0.0, np.log(0.5 / np.maximum(largest, 1e-40)) - 1e-12, 100.0)
    for _ in range(64):
        middle = 0.5 * (low + high)
        s = np.exp(middle)[:, None]
        gap = 1.0 - 2.0 * a * s
        slope = s[:, 0] * c + np.sum(a * s / gap + b_squared * (s**2 / gap + a * s**3 / gap**2), axis=1) - 1.0
        low, high = np.where(slope < 0.0, middle, low), np.where(slope < 0.0, high, middle)
    s = np.exp(low)[:, None]
    gap = 1.0 - 2.0 * a * s
    curvature = 1.0 + np.sum(2.0 * (a * s / gap) ** 2 + b_squared * s**2 / gap**3, axis=1)
    height = np.sum(0.5 * b_squared * s**2 / gap - 0.5 * np.log(gap), axis=1) + s[:, 0] * c
    return s[:, 0], s[:, 0] / np.sqrt(curvature), height


def _integrand(
    a: Float[np.ndarray, "P d"],
    b_squared: Float[np.ndarray, "P d"],
    c: Float[np.ndarray, " P"],
    crossing: Float[np.ndarray, " P"],
    width: Float[np.ndarray, " P"],
    bend: Float[np.ndarray, " P"],
    step: float,
) -> tuple[Float[np.ndarray, "P N"], Bool[np.ndarray, " P"]]:
    """Real parts of exp(K(s) − K(s₀)) s'(v) / (i s), the first halved, and whether exp(K) exceeds its value at s₀."""
    v = np.arange(0.0, FARTHEST, step)
    s = crossing[:, None] + width[:, None] * (bend[:, None] * (np.cosh(v) - 1.0) + 1j * np.sinh(v))
    speed = width[:, None] * (bend[:, None] * np.sinh(v) + 1j * np.cosh(v))
    exponents = c[:, None] * s
    for a_l, b_squared_l in zip(a.T, b_squared.T, strict=True):
        gap = 1.0 - 2.0 * a_l[:, None] * s
        exponents += 0.5 * b_squared_l[:, None] * (s * (s / gap)) - 0.5 * np.log(gap)
    exponents -= exponents[:, :1].real.copy()
    values = (np.exp(exponents) * (speed / s)).imag
    values[:, 0] *= 0.5
    # What overflows has decayed, or grown beyond any use.
    return values, ~np.all(exponents.real < 1.0, axis=1)
