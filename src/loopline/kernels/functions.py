"""The functions that a step of a plan may apply to a column, in numpy: the twin of those in C."""

from collections.abc import Callable
from enum import IntEnum

import numpy as np


class Function(IntEnum):
    """The functions of one column, numbered as in `score.c`; the last three take numbers."""

    LOG = 0
    LOG1P = 1
    LOG2 = 2
    LOG10 = 3
    EXP = 4
    EXPM1 = 5
    SQRT = 6
    CBRT = 7
    ABS = 8
    SIGN = 9
    RECIPROCAL = 10
    FLOOR = 11
    CEIL = 12
    RINT = 13
    SIN = 14
    COS = 15
    TAN = 16
    ARCTAN = 17
    ARCSINH = 18
    TANH = 19
    LOGISTIC = 20
    NORMAL = 21
    """The normal distribution's quantile."""
    YEO_JOHNSON = 22
    """With power numbers[a]."""
    BOX_COX = 23
    """With power numbers[a]."""
    PERIOD = 24
    """Brought into the period of length numbers[a+1] that starts at numbers[a]."""


class Pair(IntEnum):
    """What a step may make of two columns, numbered as in `score.c`."""

    ADD = 0
    SUBTRACT = 1
    MULTIPLY = 2
    DIVIDE = 3
    MAXIMUM = 4
    MINIMUM = 5


# Numerators and denominators of Moshier's approximation (Cephes), highest power first.
_MIDDLE = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, -59.96335010141079, 98.00107541859997, -56.67628574690703,
         13.931260938727968, -1.2391658386738125],
        [1.0, 1.9544885833814176, 4.676279128988815, 86.36024213908905, -225.46268785411937,
         200.26021238006066, -82.03722561683334, 15.90562251262117, -1.1833162112133],
    ]
)  # fmt: skip
_NEAR = np.array(
    [
        [4.0554489230596245, 31.525109459989388, 57.16281922464213, 44.08050738932008,
         14.684956192885803, 2.1866330685079025, -0.1402560791713545, -0.03504246268278482,
         -0.0008574567851546854],
        [1.0, 15.779988325646675, 45.39076351288792, 41.3172038254672, 15.04253856929075,
         2.504649462083094, -0.14218292285478779, -0.03808064076915783, -0.0009332594808954574],
    ]
)  # fmt: skip
_FAR = np.array(
    [
        [3.2377489177694603, 6.915228890689842, 3.9388102529247444, 1.3330346081580755,
         0.20148538954917908, 0.012371663481782003, 0.00030158155350823543,
         2.6580697468673755e-06, 6.239745391849833e-09],
        [1.0, 6.02427039364742, 3.6798356385616087, 1.3770209948908132, 0.21623699359449663,
         0.013420400608854318, 0.00032801446468212774, 2.8924786474538068e-06,
         6.790194080099813e-09],
    ]
)  # fmt: skip
_TAIL = 0.13533528323661269189


def _polynomial(powers: np.ndarray, x: np.ndarray) -> np.ndarray:
    value = np.full_like(x, powers[0])
    for power in powers[1:].tolist():
        value = value * x + power
    return value


def _normal(p: np.ndarray) -> np.ndarray:
    upper = p > 1.0 - _TAIL
    y = np.where(upper, 1.0 - p, p)
    q = y - 0.5
    r = q * q
    center = q + q * (r * _polynomial(_MIDDLE[0], r) / _polynomial(_MIDDLE[1], r))
    x = np.sqrt(-2.0 * np.log(y))
    z = 1.0 / x
    near, far = (z * _polynomial(t[0], z) / _polynomial(t[1], z) for t in (_NEAR, _FAR))
    away = (x - np.log(x) / x) - np.where(x < 8.0, near, far)
    found = np.where(y > _TAIL, center * 2.50662827463100050242, np.where(upper, away, -away))
    ends = np.where(p == 0.0, -np.inf, np.where(p == 1.0, np.inf, np.nan))
    return np.where((p > 0.0) & (p < 1.0), found, ends)


def _yeo_johnson(x: np.ndarray, power: float) -> np.ndarray:
    smallest, other = np.finfo(np.float64).eps, 2.0 - power
    above = np.log1p(x) if abs(power) < smallest else np.expm1(power * np.log1p(x)) / power
    below = np.log1p(-x) if abs(other) <= smallest else np.expm1(other * np.log1p(-x)) / other
    return np.where(x >= 0, above, -below)  # type: ignore[no-any-return]


def _box_cox(x: np.ndarray, power: float) -> np.ndarray:
    if abs(power) < 1e-19:
        return np.log(x)  # type: ignore[no-any-return]
    grown = power * np.log(x)
    large = np.copysign(1.0, power) * np.exp(grown - np.log(abs(power))) - 1.0 / power
    return np.where(grown < 709.78, np.expm1(grown) / power, large)  # type: ignore[no-any-return]


def _in_period(x: np.ndarray, start: float, length: float) -> np.ndarray:
    left = np.fmod(x - start, length)
    return start + np.where(left < 0, left + length, np.where(left == 0, 0.0, left))


FUNCTIONS: dict[Function, Callable[..., np.ndarray]] = {
    Function.LOG: np.log,
    Function.LOG1P: np.log1p,
    Function.LOG2: np.log2,
    Function.LOG10: np.log10,
    Function.EXP: np.exp,
    Function.EXPM1: np.expm1,
    Function.SQRT: np.sqrt,
    Function.CBRT: np.cbrt,
    Function.ABS: np.abs,
    Function.SIGN: np.sign,
    Function.RECIPROCAL: lambda x: 1.0 / x,
    Function.FLOOR: np.floor,
    Function.CEIL: np.ceil,
    Function.RINT: np.rint,
    Function.SIN: np.sin,
    Function.COS: np.cos,
    Function.TAN: np.tan,
    Function.ARCTAN: np.arctan,
    Function.ARCSINH: np.arcsinh,
    Function.TANH: np.tanh,
    Function.LOGISTIC: lambda x: 1.0 / (1.0 + np.exp(-x)),
    Function.NORMAL: _normal,
    Function.YEO_JOHNSON: _yeo_johnson,
    Function.BOX_COX: _box_cox,
    Function.PERIOD: _in_period,
}
NUMBERS = {Function.YEO_JOHNSON: 1, Function.BOX_COX: 1, Function.PERIOD: 2}
"""How many numbers a function takes beside its column; the others take none."""

PAIRS: dict[Pair, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    Pair.ADD: np.add,
    Pair.SUBTRACT: np.subtract,
    Pair.MULTIPLY: np.multiply,
    Pair.DIVIDE: np.divide,
    Pair.MAXIMUM: np.maximum,
    Pair.MINIMUM: np.minimum,
}
