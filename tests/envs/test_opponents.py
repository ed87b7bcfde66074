"""Follow-the-gap and pure pursuit: baseline drivers that drive well, alike in every environment, the same each time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.config import EnvSettings
from training.envs.drivers import follow_the_gap
from training.envs.drivers.registry import (
    DRIVERS,
    Driver,
    FollowTheGap,
    GapSettings,
    LineSettings,
    PurePursuit,
    PursuitSettings,
    SpeedLimits,
    driver_of,
    make_driver,
)
from training.envs.race import Race
from training.evaluation.lap_evaluation import Drive, evaluate
from training.sim import Track, TrackError, World

Array = NDArray[np.float64]

RECORDED = Path(__file__).parents[1] / "parity" / "recordings" / "a_track.npz"
RADIUS_M, HALF_WIDTH_M = 6.0, 1.2


@pytest.fixture(scope="module")
def circle() -> Track:
    """A ring driven anticlockwise."""
    cells_m = np.arange(-8.0, 8.0, 0.05) + 0.025
    distance_m = np.hypot(cells_m[:, None], cells_m[None, :])
    angle = np.linspace(0.0, 2.0 * np.pi, 190, endpoint=False)
    line = RADIUS_M * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    free = np.abs(distance_m - RADIUS_M) < HALF_WIDTH_M
    return Track.from_occupancy(free, 0.05, (-8.0, -8.0, 0.0), line, name="circle")


@pytest.fixture(scope="module")
def tracks() -> list[Track]:
    return [Track.generate(seed, length_m=60.0) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def recorded() -> Track:
    """The track of the f1tenth_gym recordings."""
    with np.load(RECORDED) as arrays:
        return Track.from_occupancy(
            arrays["occupancy"], float(arrays["resolution"]), arrays["origin"], arrays["centerline"]
        )


def drive(driver: Driver, tracks: list[Track], laps: int = 1, starts: int = 2, **env: Any) -> list[Drive]:
    """Let a driver drive as a policy would: its commands become actions in [-1, 1]."""

    def control(race: Race, _observations: NDArray[np.float32]) -> Array:
        return race.actions_of(driver.act(race.world))

    return evaluate(control, EnvSettings(tyres="linear", **env), tracks, starts=starts, laps=laps)


def scattered(tracks: list[Track], num_cars: int = 1) -> World:
    """One world with cars anywhere on each track, a little off the line, and moving."""
    rng = np.random.default_rng(4)
    world = World(tracks, len(tracks), num_cars, beams=108)
    poses = np.empty((len(tracks), num_cars, 3))
    for e, track in enumerate(tracks):
        for n in range(num_cars):
            poses[e, n] = track.pose_at(
                rng.uniform(0, track.length_m), rng.uniform(-0.4, 0.4), rng.uniform(-0.2, 0.2)
            )
    world.reset(poses)
    world.step(np.full((len(tracks), num_cars, 2), (0.0, 3.0)), 20)
    return world


@pytest.mark.parametrize("speed_mps", [2.0, 5.0, 8.0])
@pytest.mark.parametrize("offset_m", [-0.6, 0.6])
def test_pure_pursuit_converges_to_the_line(circle: Track, speed_mps: float, offset_m: float) -> None:
    driver = PurePursuit(PursuitSettings(limits=SpeedLimits(max_speed_mps=speed_mps)))
    world = World(circle, 1, beams=20)
    world.reset([[circle.pose_at(0.0, offset_m, 0.2)]])
    for _ in range(100):
        world.step(driver.act(world), 10)
        assert not world.collisions.any()
    assert world.progress_m[0, 0] > 8.0 * speed_mps
    assert abs(world.lateral_m[0, 0]) < 0.1
    assert world.states[0, 0, 3] == pytest.approx(speed_mps, abs=0.2)


@pytest.mark.parametrize("action_repeat", [10, 4])
def test_pure_pursuit_starts_in_a_tight_bend_without_running_wide(action_repeat: int) -> None:
    """Where the bench's one lost start was: 0.24 m from the middle of a bend of 2.3 m, full throttle ahead."""
    track = Track.generate(2002, length_m=120.0, half_width_m=1.1, min_radius_m=2.0)
    driver = make_driver("pure_pursuit")
    world = World(track, 9, beams=20)
    offsets_m = np.linspace(-0.4, 0.4, 9)
    world.reset([[track.pose_at(47.8, offset)] for offset in offsets_m])
    for _ in range(200 // action_repeat):
        world.step(driver.act(world), action_repeat)
        assert not world.collisions.any()
    assert (world.progress_m > 9.0).all()


def test_pure_pursuit_slows_down_for_a_lateral_acceleration_limit(circle: Track) -> None:
    driver = PurePursuit(PursuitSettings(limits=SpeedLimits(lateral_mps2=6.0)))
    world = World(circle, 1, beams=20)
    world.reset([[circle.pose_at(0.0)]])
    for _ in range(60):
        world.step(driver.act(world), 10)
    assert world.states[0, 0, 3] == pytest.approx(np.sqrt(6.0 * RADIUS_M), rel=0.03)


def test_pure_pursuit_on_the_racing_line_cuts_the_bend(circle: Track) -> None:
    """On a ring the shortest way is along the inner wall; left of the centreline, that is."""
    driver = PurePursuit(line=LineSettings(margin_m=0.5))
    world = World(circle, 1, beams=20)
    world.reset([[circle.pose_at(0.0)]])
    for _ in range(60):
        world.step(driver.act(world), 10)
    assert world.lateral_m[0, 0] == pytest.approx(HALF_WIDTH_M - 0.5, abs=0.12)


def test_pure_pursuit_needs_a_centreline(circle: Track) -> None:
    bare = Track.from_occupancy(circle.free, circle.resolution_m, circle.origin)
    world = World(bare, 1, beams=20)
    world.reset([[(RADIUS_M, 0.0, np.pi / 2)]])
    with pytest.raises(TrackError, match="no centreline"):
        PurePursuit().act(world)


def test_the_free_ways_are_those_of_every_point_at_every_heading() -> None:
    """The kernel asks each point about a few headings only; here all are asked, also points beside and behind."""
    settings, rng = GapSettings(), np.random.default_rng(5)
    headings = np.linspace(-settings.half_view_rad, settings.half_view_rad, settings.headings)
    sight = follow_the_gap._see(settings, 40)
    looks = sight.looks[:, : settings.headings].T
    np.testing.assert_allclose(looks, np.stack([np.cos(headings), np.sin(headings)], axis=1))
    radius = settings.half_width_m + settings.margin_m
    room = follow_the_gap._make_room(40, sight)
    count = room.points.shape[1]
    for _ in range(50):
        reach, angle = rng.uniform(0.05, 9.0, count), rng.uniform(-np.pi, np.pi, count)
        px, py = room.points[:] = reach * np.cos(angle), reach * np.sin(angle)
        along, across = looks @ np.stack([px, py]), np.abs(looks[:, ::-1] * (-1, 1) @ np.stack([px, py]))
        within = (along > 0.0) & (across < radius)
        ways = np.where(within, along - np.sqrt(np.maximum(radius**2 - across**2, 0.0)), np.inf)
        follow_the_gap._find_free_ways(room, settings, sight.looks)
        free = room.free[: settings.headings]
        np.testing.assert_allclose(free, np.minimum(ways.min(axis=1), settings.horizon_m), atol=1e-12)


@pytest.mark.parametrize("beams", [20, 21, 119, 120, 250, 1080])
def test_the_obstacles_are_the_nearest_beams_and_lie_between_few(beams: int) -> None:
    """Of many beams the nearest of neighbours stands for all; between few ones there are points on the chord."""
    settings, scan = GapSettings(), np.random.default_rng(6).uniform(0.1, 12.0, beams)
    sight = follow_the_gap._see(settings, beams)
    points = follow_the_gap._make_room(beams, sight).points
    follow_the_gap._find_obstacles(scan, settings, sight.beams, points)
    pooled = max(1, beams // 120)
    near = [i + int(np.argmin(scan[i : i + pooled])) for i in range(0, beams, pooled)]
    angle = np.array(near) * settings.fov_rad / (beams - 1) - 0.5 * settings.fov_rad
    ends = np.minimum(scan[near], 2.0 * settings.horizon_m) * np.array([np.cos(angle), np.sin(angle)])
    places = np.linspace(0.0, len(near) - 1.0, points.shape[1])
    between = np.stack([np.interp(places, np.arange(len(near)), axis) for axis in ends])
    np.testing.assert_allclose(points, between, atol=1e-9)
    assert 100 < points.shape[1] <= 240


def test_follow_the_gap_turns_into_the_bend_and_mirrors_with_the_track(tracks: list[Track]) -> None:
    """What is left on a track is right on its mirror image."""
    for track in tracks:
        mirrored = track.mirrored()
        places = np.linspace(0.0, track.length_m, 40, endpoint=False)
        world, image = World(track, 40, beams=109), World(mirrored, 40, beams=109)
        world.reset([[track.pose_at(s)] for s in places])
        image.reset([[mirrored.pose_at(s)] for s in places])
        commands, seen = FollowTheGap().act(world), FollowTheGap().act(image)
        bend = track.curvature_1pm[np.searchsorted(track.arc_length_m, places) % len(track.curvature_1pm)]
        sharp = np.abs(bend) > 0.3
        assert (np.sign(commands[sharp, 0, 0]) == np.sign(bend[sharp])).mean() > 0.9
        # The mirror image of a cell's edge falls into the next cell, which moves a range by up to a cell.
        assert np.median(np.abs(commands[..., 0] + seen[..., 0])) < 0.02
        assert np.median(np.abs(commands[..., 1] - seen[..., 1])) < 0.1


@pytest.mark.parametrize("side", [-1, 1])
def test_follow_the_gap_steers_away_from_a_near_wall(circle: Track, side: int) -> None:
    """Beside the outer or the inner wall, heading a little towards it."""
    world = World(circle, 1, beams=108)
    middle, near = circle.pose_at(0.0), circle.pose_at(0.0, side * 0.8, side * 0.2)
    world.reset([[middle]])
    along = FollowTheGap().act(world)[0, 0, 0]
    world.reset([[near]])
    assert side * (FollowTheGap().act(world)[0, 0, 0] - along) < -0.05


@pytest.mark.parametrize("side", [-0.5, 0.5])
def test_follow_the_gap_passes_a_standing_car(circle: Track, side: float) -> None:
    """It sees cars as it sees walls: one that stands beside the line is passed on the other side."""
    world = World(circle, 1, num_cars=2, beams=108)
    world.reset([[circle.pose_at(0.0), circle.pose_at(9.0, side)]])
    driver = FollowTheGap(GapSettings(max_speed_mps=4.0))
    for _ in range(40):
        commands = driver.act(world)
        commands[0, 1] = 0.0
        world.step(commands, 10)
        assert not world.collisions.any()
    assert world.progress_m[0, 0] > 12.0


@pytest.mark.slow
@pytest.mark.parametrize("env", [{"action_repeat": 10, "beams": 20}, {"action_repeat": 4, "beams": 108}])
@pytest.mark.parametrize("name", DRIVERS)
def test_each_driver_finishes_three_laps_at_ten_and_at_twentyfive_hertz(
    recorded: Track, name: str, env: dict[str, Any]
) -> None:
    results = drive(make_driver(name), [recorded, recorded.reversed()], laps=3, starts=5, **env)
    assert all(r.completed for r in results)
    assert np.mean([r.mean_speed_mps for r in results]) > 5.0


@pytest.mark.slow
@pytest.mark.parametrize("name", DRIVERS)
def test_each_driver_laps_generated_tracks_with_either_physics(name: str) -> None:
    fields = [Track.generate(seed) for seed in (1, 1001)]
    for profile in ("training", "f1tenth_gym"):
        results = drive(make_driver(name), fields, starts=5, profile=profile, beams=108)
        assert all(r.completed for r in results), profile
        assert np.mean([r.mean_speed_mps for r in results]) > 5.0


def test_the_racing_line_is_quicker_than_the_centreline(tracks: list[Track]) -> None:
    along = drive(make_driver("pure_pursuit"), tracks)
    short = drive(make_driver("racing_line"), tracks)
    assert all(r.completed for r in along + short)
    assert np.mean([r.lap_s for r in short]) < 0.97 * np.mean([r.lap_s for r in along])


def test_a_slower_cap_is_kept(circle: Track) -> None:
    for name in DRIVERS:
        world = World(circle, 1, beams=20)
        world.reset([[circle.pose_at(0.0)]])
        for _ in range(20):
            commands = make_driver(name, max_speed_mps=2.5).act(world)
            assert commands[0, 0, 1] <= 2.5
            world.step(commands, 10)


@pytest.mark.parametrize("name", DRIVERS)
def test_commands_do_not_depend_on_the_order_of_environments_or_on_the_past(
    tracks: list[Track], name: str
) -> None:
    world = scattered(tracks, num_cars=2)
    order = [2, 0, 1]
    turned = World([tracks[i] for i in order], 3, 2, beams=108)
    state = world.state_dict()
    turned.load_state_dict({k: np.ascontiguousarray(v[order]) for k, v in state.items()})
    driver = make_driver(name)
    commands = driver.act(world)
    np.testing.assert_array_equal(driver.act(turned), commands[order])
    np.testing.assert_array_equal(driver.act(world), commands)
    driver.reset(np.array([True, False, False]))
    np.testing.assert_array_equal(make_driver(name).act(world), commands)


@pytest.mark.parametrize("name", DRIVERS)
def test_commands_are_within_the_cars_limits_wherever_it_stands(tracks: list[Track], name: str) -> None:
    """Across the track, facing backwards, sliding: still finite, still what the servo can do."""
    rng = np.random.default_rng(8)
    track = tracks[0]
    world = World(track, 64, beams=20, profile="f1tenth_gym")
    world.reset(
        [
            [track.pose_at(rng.uniform(0, 60), rng.uniform(-0.9, 0.9), rng.uniform(-np.pi, np.pi))]
            for _ in range(64)
        ]
    )
    for _ in range(5):
        commands = make_driver(name).act(world)
        assert np.isfinite(commands).all()
        assert (np.abs(commands[..., 0]) <= 0.4189).all()
        assert ((commands[..., 1] > 0.0) & (commands[..., 1] <= 8.0)).all()
        world.step(rng.uniform((-0.4, -2.0), (0.4, 8.0), (64, 1, 2)), 10)


def test_too_few_beams_for_a_gap_are_refused(circle: Track) -> None:
    world = World(circle, 1, beams=19)
    world.reset([[circle.pose_at(0.0)]])
    with pytest.raises(ValueError, match="beams=19: follow-the-gap needs at least 20"):
        FollowTheGap().act(world)


def test_an_unknown_driver_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'stanley' is unknown; choose one of follow_the_gap, pure_pursuit"):
        make_driver("stanley")


def test_the_trajectory_reward_asks_pure_pursuit(tracks: list[Track]) -> None:
    """A car that does what pure pursuit does earns the whole term."""
    base = EnvSettings(num_envs=3)
    settings = base.model_copy(update={"reward": base.reward.model_copy(update={"trajectory": 0.5})})
    race, pursuit = Race(settings, tracks, 3), driver_of("pure_pursuit", settings)
    race.reset()
    for _ in range(10):
        outcome = race.step(race.actions_of(pursuit.act(race.world)))
    np.testing.assert_allclose(outcome.terms["trajectory"], 0.5)
