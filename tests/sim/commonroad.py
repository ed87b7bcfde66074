"""CommonRoad's single track with drift (STD) with our car's numbers, to compare our tyres with.

    python -m tests.sim.commonroad docs/locked_wheels.svg

draws both in the friction circle, up to the limit of grip.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from vehiclemodels.init_std import init_std
from vehiclemodels.parameters_vehicle1 import parameters_vehicle1
from vehiclemodels.vehicle_dynamics_std import vehicle_dynamics_std

from tests.sim.single_drive import CAR, STEP_S, drive, lateral_mps2, longitudinal_mps2
from training.sim.dynamics import GRAVITY_MPS2

MEAN = 0.5 * (CAR.C_Sf + CAR.C_Sr)
EQUAL = CAR._replace(C_Sf=MEAN, C_Sr=MEAN, v_switch=1000.0, a_max=1000.0, v_max=100.0)
GRIP_MPS2 = EQUAL.mu * GRAVITY_MPS2
# Beyond the grip a wheel locks within a step of LSODA, which then finds no step that is short enough.
LOCKING_STEP_S = 2e-5
FRONT_WHEEL, REAR_WHEEL = 7, 8  # rows of its state: rad/s
SHARES = (-0.8, -0.6, -0.4, 0.4, 0.6, 0.8)

Array = NDArray[np.float64]


def at_speed(speed: float, steering: float, acc: float) -> tuple[object, list[float]]:
    """Return STD's parameters for our car, and its state on rolling wheels.

    Its one tyre has our mean stiffness and friction, no shifts, and Pacejka's C 1.3507 and E -0.0075 as delivered;
    wheels of 49 mm and 1.7e-4 kg m^2; drive and brakes split by the axles' loads, as ours are.
    """
    p = parameters_vehicle1()
    p.a, p.b, p.h_s, p.m, p.I_z = EQUAL.lf, EQUAL.lr, EQUAL.h, EQUAL.m, EQUAL.I
    p.R_w, p.I_y_w = 0.049, 0.00017
    p.T_sb = p.T_se = (GRAVITY_MPS2 * EQUAL.lr - acc * EQUAL.h) / (GRAVITY_MPS2 * (EQUAL.lf + EQUAL.lr))
    p.tire.p_dy1 = p.tire.p_dx1 = EQUAL.mu
    p.tire.p_ky1 = -EQUAL.mu * MEAN
    for shift in ("p_hx1", "p_vx1", "p_hy1", "p_vy1", "p_vy3", "r_hx1", "r_hy1", "r_vy1", "r_vy3"):
        setattr(p.tire, shift, 0.0)
    p.steering.min, p.steering.max, p.steering.v_min, p.steering.v_max = -10, 10, -10, 10
    p.longitudinal.v_min, p.longitudinal.v_max = -100, 100
    p.longitudinal.v_switch = p.longitudinal.a_max = 1000
    start = init_std([0.0, 0.0, steering, speed, 0.0, 0.0, 0.0], p)
    start[FRONT_WHEEL] = speed / p.R_w
    return p, start


def commonroad(speed: float, steering: float, acc: float, seconds: float) -> Array:
    """Drive STD and return its states, one each 10 ms; while its wheels roll."""
    p, start = at_speed(speed, steering, acc)
    times = np.arange(round(seconds / STEP_S)) * STEP_S
    solved = solve_ivp(
        lambda _, x: vehicle_dynamics_std(list(x), [0.0, acc], p),
        (0.0, seconds), start, method="LSODA", rtol=1e-8, atol=1e-9, t_eval=times,
    )  # fmt: skip
    return solved.y


def commonroad_beyond_grip(speed: float, steering: float, acc: float, seconds: float) -> Array:
    """Drive STD in short steps of equal length, its wheels stopped where they would turn backwards."""
    p, start = at_speed(speed, steering, acc)
    state, rows = np.array(start), []
    for k in range(round(seconds / LOCKING_STEP_S)):
        if k % round(STEP_S / LOCKING_STEP_S) == 0:
            rows.append(state.copy())
        state += LOCKING_STEP_S * np.array(vehicle_dynamics_std(list(state), [0.0, acc], p))
        state[FRONT_WHEEL:] = np.maximum(state[FRONT_WHEEL:], 0.0)
    return np.array(rows).T


def drawn(speed: float = 5.0, steering: float = 0.10, seconds: float = 0.3) -> Figure:
    """Draw where both cars' accelerations go within the friction circle, for each share of grip asked for."""
    figure = Figure(figsize=(5.2, 5.0), layout="constrained")
    ax = figure.add_subplot(aspect="equal")
    ax.add_patch(Circle((0.0, 0.0), 1.0, fill=False, color="#999999"))
    for k, share in enumerate(SHARES):
        acc, state = share * GRIP_MPS2, (0.0, 0.0, steering, speed, 0.0, 0.0, 0.0)
        ours = drive(state, 0.0, acc, round(seconds / STEP_S) - 1, EQUAL)
        theirs = commonroad_beyond_grip(speed, steering, acc, seconds)
        for rows, style in ((ours, "-"), (theirs, "--")):
            sideways, lengthways = lateral_mps2(rows) / GRIP_MPS2, longitudinal_mps2(rows) / GRIP_MPS2
            ax.plot(sideways[1:-1], lengthways[1:-1], style, color=f"C{k}", linewidth=1.3)
        ax.plot([], [], color=f"C{k}", label=f"{share:+.1f} μ·g".replace("-", "−"))
    ax.plot([], [], "k-", label="saturating")
    ax.plot([], [], "k--", label="CommonRoad STD")
    ax.set(xlabel="lateral acceleration / μ·g", ylabel="longitudinal acceleration / μ·g")
    ax.set(xlim=(-0.1, 1.05), ylim=(-1.05, 1.05))
    ax.legend(loc="center left", frameon=False, fontsize="small")
    return figure


if __name__ == "__main__":
    drawn().savefig(Path(sys.argv[1]), metadata={"Date": None})
