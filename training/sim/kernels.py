"""One step of all environments: the order of things in a step, and nothing else.

Order (f1tenth_gym v1.0.0): every car drives and scans the walls; cars against cars; then car by car the wall contact,
after which the other cars are drawn into its scan. With the body's footprint as wall contact the scan is not needed
for physics, so it is cast once, after the last of the repeated physics steps.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from .array_types import Flags, Floats, Integers
from .arrays import Cars, Rules, Scratch, Simulation, TrackArrays, make_scratch
from .collision import (
    TIME_TO_COLLISION_S,
    boxes_overlap,
    fill_corners,
    footprint_contact,
    scan_contact,
)
from .compiled import inlined, kernel, parallel_kernel
from .contact_fault import NO_CONTACT, judge_contact
from .draws import Draws, draw_episode
from .driving import drive, queue_command
from .obstacles import draw_obstacles, touches_obstacle
from .params import SPEED, YAW, X, Y
from .scanning import finish_scan, keep_pose, scan_walls, view_of
from .track import centerline

# Physics steps after which the place on the centreline is looked up at the latest: 2 m at full speed, well inside the
# 3 m around the last place that are searched.
FOLLOW_EVERY = 10


@inlined
def _mark_overlaps(cars: Cars, e: int, corners: Floats, reach_sq: float, met: Flags) -> None:
    """Notice cars that touch; met (N, N): pairs that have touched before in this step, and are judged already."""
    num_cars = cars.states.shape[1]
    for i in range(num_cars - 1):
        for j in range(i + 1, num_cars):
            dx = cars.states[e, i, X] - cars.states[e, j, X]
            dy = cars.states[e, i, Y] - cars.states[e, j, Y]
            if not dx * dx + dy * dy <= reach_sq or cars.out[e, i] or cars.out[e, j]:
                continue
            if boxes_overlap(corners[i], corners[j]):
                cars.collisions[e, i] = cars.collisions[e, j] = True
                cars.collision_idx[e, i] = j
                cars.collision_idx[e, j] = i
                if not met[i, j]:
                    met[i, j] = True
                    _judge(cars, e, i, j, corners)


@inlined
def _judge(cars: Cars, e: int, i: int, j: int, corners: Floats) -> None:
    fault_i, fault_j, part_i, part_j = judge_contact(
        cars.states[e, i], cars.states[e, j], corners[i], corners[j]
    )
    cars.at_fault[e, i] |= fault_i
    cars.at_fault[e, j] |= fault_j
    cars.contact_part[e, i] = part_i
    cars.contact_part[e, j] = part_j


@inlined
def _touches_wall(
    cars: Cars, track_arrays: TrackArrays, rules: Rules, e: int, n: int, corners: Floats, shortest: float
) -> bool:
    """Tell whether a car touches a wall; shortest: as `_scan_walls` returns it, where the contact is the scan's."""
    s = cars.states[e, n]
    if rules.switches.footprint_contact:
        if touches_obstacle(cars, e, corners[n]):
            return True
        return footprint_contact(s[X], s[Y], corners[n], track_arrays.field, view_of(track_arrays, e))
    # Nothing is that near: the beams need not be looked at one by one.
    if shortest - rules.beams.farthest_side_m > TIME_TO_COLLISION_S * abs(s[SPEED]) + 1e-6:
        return False
    return scan_contact(cars.scans[e, n], s[SPEED], rules.beams)


@inlined
def _stop_at_wall(cars: Cars, rules: Rules, e: int, n: int, before: Floats) -> None:
    """Stop a car that touches a wall; with footprints it also goes back to where it was still clear."""
    s = cars.states[e, n]
    if rules.switches.footprint_contact:
        s[X], s[Y], s[YAW] = before[n, 0], before[n, 1], before[n, 2]
    if not rules.switches.keep_yaw_on_contact:
        s[YAW] = 0.0
    s[SPEED] = s[YAW + 1] = s[YAW + 2] = 0.0
    cars.collisions[e, n] = cars.wall_contacts[e, n] = True


@inlined
def _follow_line(cars: Cars, track_arrays: TrackArrays, e: int, n: int, search_all: bool) -> None:
    """Update a car's place along the centreline and its unwrapped progress."""
    t = track_arrays.track_of[e]
    count = track_arrays.line_count[t]
    if count == 0:
        return
    begin, length = track_arrays.line_first[t], track_arrays.length_m[t]
    s = cars.states[e, n]
    hint = -1 if search_all else cars.line_index[e, n]
    line = centerline.Curve(
        track_arrays.line[begin : begin + count],
        track_arrays.tangent[begin : begin + count],
        track_arrays.arc_m[begin : begin + count],
        length,
    )
    arc, lateral, index = centerline.project(line, s[X], s[Y], hint)
    way = arc - cars.arc_m[e, n]
    way -= length * math.floor(way / length + 0.5)  # the shorter way round
    cars.progress_m[e, n] = 0.0 if search_all else cars.progress_m[e, n] + way
    cars.arc_m[e, n], cars.lateral_m[e, n], cars.line_index[e, n] = arc, lateral, index


@inlined
def _fill_all_corners(cars: Cars, rules: Rules, e: int, corners: Floats) -> None:
    for n in range(corners.shape[0]):
        s = cars.states[e, n]
        fill_corners(s[X], s[Y], s[YAW], rules.vehicle.length, rules.vehicle.width, corners[n])


@inlined
def _step_environment(  # noqa: C901, PLR0912 - the order of a step stays in one place
    cars: Cars,
    track_arrays: TrackArrays,
    rules: Rules,
    scratch: Scratch,
    e: int,
    actions: Floats,
    repeat: int,
) -> None:
    num_cars = cars.states.shape[1]
    footprint = rules.switches.footprint_contact
    corners, before = scratch.corners, scratch.before
    reach_sq = rules.vehicle.length**2 + rules.vehicle.width**2
    lap_m = track_arrays.length_m[track_arrays.track_of[e]]
    for n in range(num_cars):
        _forget_contacts(cars, e, n)
        for other in range(num_cars):
            scratch.met[n, other] = False
    for r in range(repeat):
        for n in range(num_cars):
            s = cars.states[e, n]
            before[n, 0], before[n, 1], before[n, 2] = s[X], s[Y], s[YAW]
            queue_command(cars, rules, e, n, actions[e, n, 0], actions[e, n, 1])
            # A car that has hit a wall stands until its next command, one that is out for good.
            if not ((footprint and cars.wall_contacts[e, n]) or cars.out[e, n]):
                drive(cars, rules, e, n, actions[e, n, 1], lap_m)
        cars.tick[e] += 1
        _fill_all_corners(cars, rules, e, corners)
        if num_cars > 1:
            _mark_overlaps(cars, e, corners, reach_sq, scratch.met)
        for n in range(num_cars):
            if cars.out[e, n]:
                continue
            shortest = 0.0
            if not footprint:
                shortest = scan_walls(cars, track_arrays, rules, scratch, e, n)
            if _touches_wall(cars, track_arrays, rules, e, n, corners, shortest):
                _stop_at_wall(cars, rules, e, n, before)
                if footprint:
                    s = cars.states[e, n]
                    fill_corners(s[X], s[Y], s[YAW], rules.vehicle.length, rules.vehicle.width, corners[n])
            if not footprint:
                finish_scan(cars, rules, scratch, e, n)
            if rules.faulty:
                keep_pose(cars, e, n)
            if (r + 1) % FOLLOW_EVERY == 0 or r == repeat - 1:
                _follow_line(cars, track_arrays, e, n, False)
    if footprint:
        for n in range(num_cars):
            if not cars.out[e, n]:
                scan_walls(cars, track_arrays, rules, scratch, e, n)
                finish_scan(cars, rules, scratch, e, n)


@inlined
def _forget_contacts(cars: Cars, e: int, n: int) -> None:
    cars.collisions[e, n] = cars.wall_contacts[e, n] = cars.at_fault[e, n] = False
    cars.collision_idx[e, n], cars.contact_part[e, n] = -1, NO_CONTACT


@inlined
def _step_span(
    cars: Cars,
    track_arrays: TrackArrays,
    rules: Rules,
    scratch: Scratch,
    span: tuple[int, int],
    actions: Floats,
    repeat: int,
) -> None:
    """Step the environments from the span's first up to its stop."""
    for e in range(span[0], span[1]):
        _step_environment(cars, track_arrays, rules, scratch, e, actions, repeat)


@kernel
def _step_part(simulation: Simulation, span: tuple[int, int], actions: Floats, repeat: int) -> None:
    cars, track_arrays, rules = simulation.cars, simulation.track_arrays, simulation.rules
    _step_span(cars, track_arrays, rules, make_scratch(cars, track_arrays), span, actions, repeat)


@inlined
def _first_not_finite(actions: Floats) -> int:
    """Return the first environment with an action, of (E, N, 2), that is not finite, or -1."""
    for e in range(actions.shape[0]):
        for n in range(actions.shape[1]):
            if not (math.isfinite(actions[e, n, 0]) and math.isfinite(actions[e, n, 1])):
                return e
    return -1


@parallel_kernel
def step_parallel(simulation: Simulation, actions: Floats, repeat: int, parts: int) -> int:
    """Step all environments `repeat` physics steps, spread evenly over the threads: in as many parts.

    Return -1, or the first environment with an action that is not finite: then nothing has been stepped.
    """
    wrong = _first_not_finite(actions)
    if wrong < 0:
        envs = actions.shape[0]
        for part in prange(parts):
            _step_part(simulation, (part * envs // parts, (part + 1) * envs // parts), actions, repeat)
    return wrong


@kernel
def step_serial(simulation: Simulation, actions: Floats, repeat: int) -> int:
    """Do as `step_parallel` on the calling thread: few environments are not worth a hand-over."""
    wrong = _first_not_finite(actions)
    if wrong < 0:
        _step_part(simulation, (0, actions.shape[0]), actions, repeat)
    return wrong


@kernel
def _put(cars: Cars, rules: Rules, e: int, n: int, pose: Floats) -> None:
    """Put a car at rest at a pose (3,)."""
    cars.states[e, n, :] = 0.0
    cars.states[e, n, X], cars.states[e, n, Y], cars.states[e, n, YAW] = pose[0], pose[1], pose[2]
    cars.steering_queue[e, n, :] = 0.0
    cars.out[e, n] = False
    if rules.faulty:
        cars.speed_queue[e, n, :] = cars.held[e, n, :] = 0.0
        cars.past[e, n, :] = pose
    _forget_contacts(cars, e, n)


@kernel
def reset(
    cars: Cars,
    track_arrays: TrackArrays,
    rules: Rules,
    draws: Draws,
    poses: Floats,
    where: Flags,
) -> None:
    """Put the cars of the chosen environments at rest at their poses (E, N, 3) and scan from there."""
    num_cars = cars.states.shape[1]
    scratch = make_scratch(cars, track_arrays)
    corners = scratch.corners
    for e in range(cars.states.shape[0]):
        if not where[e]:
            continue
        cars.episode[e] += 1
        cars.tick[e] = 0
        for n in range(num_cars):
            _put(cars, rules, e, n, poses[e, n])
            draw_episode(cars, rules, draws, e, n)
            _follow_line(cars, track_arrays, e, n, True)
        draw_obstacles(cars, track_arrays, rules, draws, e)
        _fill_all_corners(cars, rules, e, corners)
        for n in range(num_cars):
            scan_walls(cars, track_arrays, rules, scratch, e, n)
            finish_scan(cars, rules, scratch, e, n)


@kernel
def place(cars: Cars, track_arrays: TrackArrays, rules: Rules, poses: Floats, where: Flags) -> None:
    """Put single cars, where (E, N), at rest at their poses (E, N, 3) and scan from there; the others drive on."""
    num_cars = cars.states.shape[1]
    scratch = make_scratch(cars, track_arrays)
    corners = scratch.corners
    for e in range(cars.states.shape[0]):
        if not where[e].any():
            continue
        for n in range(num_cars):
            if where[e, n]:
                _put(cars, rules, e, n, poses[e, n])
        _fill_all_corners(cars, rules, e, corners)
        for n in range(num_cars):
            if where[e, n]:
                scan_walls(cars, track_arrays, rules, scratch, e, n)
                finish_scan(cars, rules, scratch, e, n)
                _follow_line(cars, track_arrays, e, n, True)


@kernel
def blocked(simulation: Simulation, environments: Integers, poses: Floats, boxes: bool) -> Flags:
    """Return (k,) bool: whether the body at each pose (k, 3) touches a wall of its environment (k,), or leaves it.

    boxes: the episode's obstacles count too.
    """
    track_arrays, car = simulation.track_arrays, simulation.rules.vehicle
    result = np.empty(poses.shape[0], np.bool_)
    corners = np.empty((4, 2))
    for k in range(poses.shape[0]):
        x, y, yaw = poses[k, 0], poses[k, 1], poses[k, 2]
        fill_corners(x, y, yaw, car.length, car.width, corners)
        result[k] = footprint_contact(
            x, y, corners, track_arrays.field, view_of(track_arrays, environments[k])
        )
        if boxes:
            result[k] |= touches_obstacle(simulation.cars, environments[k], corners)
    return result
