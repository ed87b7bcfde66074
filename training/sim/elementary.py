"""Elementary functions as polynomials, for the innermost loops.

The tyres call them some thirty times in a physics step, where the C library's would take most of its time. Errors are
below 1e-6, far less than is known of any tyre; and unlike the C library's they give the same bits on every machine.
Terms are summed in pairs (Estrin's scheme): in a sum term by term each waits for the one before it.
"""

from __future__ import annotations

import math

from .compiled import inlined


@inlined
def sin_cos(angle: float) -> tuple[float, float]:
    """Return sine and cosine of an angle, rad: Taylor's series, within 1e-10 up to 1.6 rad."""
    u = angle * angle
    v = u * u
    w = v * v
    sine = ((1.0 - u * (1 / 6)) + v * (1 / 120 - u * (1 / 5040))) + w * (
        (1 / 362880 - u * (1 / 39916800)) + v * (1 / 6227020800 - u * (1 / 1307674368000))
    )
    cosine = ((1.0 - u * 0.5) + v * (1 / 24 - u * (1 / 720))) + w * (
        (1 / 40320 - u * (1 / 3628800)) + v * (1 / 479001600 - u * (1 / 87178291200))
    )
    return angle * sine, cosine


@inlined
def arctan(across: float, along: float) -> float:
    """Return atan(across / along), rad, for along > 0, within 3e-7: a rational fit up to 45 degrees, slope 1 at 0.

    Top and bottom are multiplied by the greater number to the fifth, so that there is one division.
    """
    far = abs(across)
    less, more = min(far, along), max(far, along)
    p, q = less * less, more * more
    pp, pq, qq = p * p, p * q, q * q
    top = less * (qq + 0.6632014147893138 * pq + 0.04178228958322372 * pp)
    low = more * (qq + 0.9964991217902748 * pq + 0.17435283528541487 * pp)
    angle = top / low
    return math.copysign(0.5 * math.pi - angle if far > along else angle, across)


@inlined
def tanh(x: float) -> float:
    """Return the hyperbolic tangent, within 4e-7 and never beyond 1: a rational fit up to 8, with slope 1 at 0."""
    x = min(max(x, -8.0), 8.0)
    u = x * x
    v = u * u
    top = (1.0 + u * 0.12924960753894527) + v * (0.002950264845515675 + u * 1.1420559750444828e-05)
    low = (1.0 + u * 0.4625819016491131) + v * (
        (0.023812440886264143 + u * 0.00023856352012343023) + v * 2.456786736621243e-07
    )
    return x * top / low
