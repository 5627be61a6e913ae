"""How likely a quadratic function of independent standard normals is positive, by inverting its Laplace transform.

With K(s) = log E exp(s Q) for Q = Σ_l (a_l z_l² + b_l z_l) + c, in closed form, P(Q > 0) = (1/2πi) ∫ exp(K(s))/s ds
along any path from below to above that crosses the real axis between 0 and the first pole of K. Imhof (1961) and Davies
(1980) integrate next to the imaginary axis, where the integrand oscillates and decays like a power. Here the path
crosses at the saddle point and bends, as a hyperbola, toward the side where exp(K) decays (Rice 1980). In v, with
s = s₀ + w (i sinh v ± tan θ (cosh v − 1)), the trapezoidal rule then converges exponentially, and small
probabilities keep their digits. Where the integrand first grows along the bent path, the path is straight and the steps
are halved until they agree. In many columns the integrand decays fast, so a coarse look along the path finds its end.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Complex, Float

BEND = math.tan(math.pi / 8.0)
"""tan θ: halfway between the directions in which a Gaussian factor and an exponential one stop decaying."""
FARTHEST = 45.0
"""v at the end of a path, where the integrand is at most e^(−v/2) of its peak."""
STEPS = 2.0 ** -np.arange(4, 12)
"""Of v; the next one is used where the one before is not sure to `ACCURACY`."""
ACCURACY = 1e-8
COARSE = 0.5
"""Step of v with which the end of a path is found."""
NEGLIGIBLE = 1e-18
"""Of the integrand's peak: what lies beyond adds nothing."""
AT_ONCE = 2**18
"""Forms × points in memory."""


class Forms(NamedTuple):
    """Forms whose mean is not positive, and their paths."""

    a: Float[np.ndarray, "P d"]
    """Of the squares."""
    b_squared: Float[np.ndarray, "P d"]
    """Of the linear terms."""
    c: Float[np.ndarray, " P"]
    """The constants."""
    crossing: Float[np.ndarray, " P"]
    """s₀."""
    width: Float[np.ndarray, " P"]
    """w."""
    height: Float[np.ndarray, " P"]
    """K(s₀)."""
    bend: Float[np.ndarray, " P"]
    """tan θ with the side to which the path bends; 0 for a straight one."""

    def of(self, which: np.ndarray) -> "Forms":
        """Some of the forms."""
        return Forms(*(leaf[which] for leaf in self))


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
    found, sure = np.zeros(len(c)), np.zeros(len(c), bool)
    forms = Forms(a, b_squared, c, *_saddle(a, b_squared, c), bend=BEND * side)
    ends, grows = _ends(forms)
    forms = forms._replace(bend=np.where(grows, 0.0, forms.bend))
    ends[grows] = _ends(forms.of(grows))[0]
    for step in STEPS:
        todo = np.flatnonzero(~sure)
        todo = todo[np.argsort(-ends[todo], kind="stable")]  # forms that are computed together have about one end
        while len(todo):
            v = np.arange(0.0, float(ends[todo[0]]), step)
            one, todo = np.split(todo, [max(AT_ONCE // len(v), 1)])
            some = forms.of(one)
            values, grows = _integrand(some, v)
            again = grows & (some.bend != 0.0)
            if again.any():  # between the points of the coarse look
                some.bend[again] = forms.bend[one[again]] = 0.0
                ends[one[again]] = FARTHEST
                values[again] = 0.0
            scale = np.exp(some.height) * step / np.pi
            found[one] = scale * np.imag(values.sum(axis=1))
            sure[one] = ~again & (np.abs(found[one] - 2.0 * scale * np.imag(values[:, ::2].sum(axis=1))) < ACCURACY)
    return np.where(sure, found, np.nan)


def _ends(forms: Forms) -> tuple[Float[np.ndarray, " P"], Bool[np.ndarray, " P"]]:
    """The v beyond which the integrands are negligible, and whether they first grow."""
    v = np.arange(0.0, FARTHEST, COARSE)
    values, grows = _integrand(forms, v)
    counts = np.abs(values) > NEGLIGIBLE * np.abs(values[:, :1])
    last = len(v) - counts[:, ::-1].argmax(axis=1)
    return np.minimum((last + 1) * COARSE, FARTHEST), grows


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


def _integrand(forms: Forms, v: Float[np.ndarray, " N"]) -> tuple[Complex[np.ndarray, "P N"], Bool[np.ndarray, " P"]]:
    """exp(K(s) − K(s₀)) s'(v) / s, the first halved, and whether exp(K) exceeds its value at s₀."""
    width, bend = forms.width[:, None], forms.bend[:, None]
    s = forms.crossing[:, None] + width * (bend * (np.cosh(v) - 1.0) + 1j * np.sinh(v))
    speed = width * (bend * np.sinh(v) + 1j * np.cosh(v))
    exponents = forms.c[:, None] * s
    for a_l, b_squared_l in zip(forms.a.T, forms.b_squared.T, strict=True):
        gap = 1.0 - 2.0 * a_l[:, None] * s
        exponents += 0.5 * b_squared_l[:, None] * (s * (s / gap)) - 0.5 * np.log(gap)
    exponents -= exponents[:, :1].real.copy()
    values = np.exp(exponents) * (speed / s)
    values[:, 0] *= 0.5
    # What overflows has decayed, or grown beyond any use.
    return values, ~np.all(exponents.real < 1.0, axis=1)
