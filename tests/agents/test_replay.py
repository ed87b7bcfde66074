"""The compact replay gives back what a plain list of transitions would."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.buffers import NStepReplayBuffer

from training.agents import replay_segments
from training.agents.codec import decode, encode
from training.agents.replay import CompactReplay, ReplayRow
from training.errors import DataError

WIDTH, ENVS = 3, 2


GAMMA = np.float32(0.9)


def make(rows: int, n_steps: int = 1) -> CompactReplay:
    box, action = spaces.Box(-1, 1, (WIDTH,), np.float32), spaces.Box(-1, 1, (2,), np.float32)
    return CompactReplay(
        rows * ENVS, box, action, n_envs=ENVS, guide_dim=2, n_steps=n_steps, gamma=float(GAMMA)
    )


def drive(
    replay: CompactReplay, steps: int, seed: int = 0, end_share: float = 0.3, *, idle_cars: bool = False
) -> list[list[tuple | None]]:
    """Fill a replay with random episodes; return the true transitions, [step][env], None where a car was idle.

    Each is observation, action, next observation, reward, discount and the expert's action.
    """
    rng = np.random.default_rng(seed)
    observation = rng.random((ENVS, WIDTH), dtype=np.float32)
    truth = []
    for _ in range(steps):
        action, reward = rng.random((ENVS, 2), dtype=np.float32), rng.random(ENVS, dtype=np.float32)
        done, cut = rng.random(ENVS) < end_share, rng.random(ENVS) < 0.5
        following = rng.random((ENVS, WIDTH), dtype=np.float32)
        masked = rng.random(ENVS) < 0.3 if idle_cars else None
        # Not every step has a guide: one that has faded is not asked.
        guides = rng.random((ENVS, 2), dtype=np.float32) if rng.random() < 0.7 else None
        replay.store(ReplayRow(observation, action, reward, following, done & ~cut, done, guides, masked))
        guide = np.zeros((ENVS, 2)) if guides is None else guides
        truth.append(
            [
                (
                    observation[e].copy(),
                    action[e],
                    following[e].copy(),
                    reward[e],
                    GAMMA * np.float32(cut[e] or not done[e]),
                    guide[e],
                )
                if masked is None or not masked[e]
                else None
                for e in range(ENVS)
            ]
        )
        observation = np.where(done[:, None], rng.random((ENVS, WIDTH), dtype=np.float32), following)
        # What the learner does next: the following step begins at the restarted observation.
        replay.observations[replay.steps % replay.rows] = observation
    return truth


@given(rows=st.integers(4, 12), steps=st.integers(1, 60), share=st.sampled_from([0.0, 0.2, 0.9]))
def test_every_transition_held_is_as_it_was(rows, steps, share):
    """Whatever the ring's size and the episodes' lengths, the newest `rows` steps come back unchanged."""
    replay = make(rows)
    truth = drive(replay, steps, seed=rows * 100 + steps, end_share=share)
    held = range(steps - replay.size(), steps)
    assert len(held) == min(steps, rows)
    for step in held:
        got = replay.at(np.full(ENVS, step % replay.rows), np.arange(ENVS))
        for e in range(ENVS):
            for mine, expected in zip(got, truth[step][e], strict=True):
                np.testing.assert_array_equal(mine[e], expected)


@given(rows=st.integers(4, 12), steps=st.integers(1, 60), n_steps=st.integers(2, 5), idle_cars=st.booleans())
def test_a_return_of_several_steps_ends_with_its_episode(rows, steps, n_steps, idle_cars):
    """Summed by hand, step after step, until the episode's end, the newest step, or one that the car did not do."""
    replay = make(rows, n_steps)
    truth = drive(replay, steps, seed=rows * 100 + steps, idle_cars=idle_cars)
    ended = replay.final_number >= 0
    for step in range(steps - replay.size(), steps):
        for e in range(ENVS):
            if truth[step][e] is None:
                continue
            got = replay.at(np.array([step % replay.rows]), np.array([e]))
            rewards, discount = 0.0, 1.0
            for k in range(step, min(step + n_steps, steps)):
                if truth[k][e] is None:
                    break
                rewards += discount * float(truth[k][e][3])
                following, discount = truth[k][e][2], discount * float(truth[k][e][4])
                if ended[k % replay.rows, e]:
                    break
            assert got.rewards[0] == pytest.approx(rewards, rel=1e-6)
            assert got.discounts[0] == pytest.approx(discount, rel=1e-6)
            np.testing.assert_array_equal(got.next_observations[0], following)
            for mine, expected in zip(
                (got[0], got[1], got[5]), np.array(truth[step][e], dtype=object)[[0, 1, 5]], strict=True
            ):
                np.testing.assert_array_equal(mine[0], expected)


@pytest.mark.parametrize("n_steps", [1, 3, 10])
def test_a_return_of_several_steps_is_that_of_stable_baselines3(n_steps):
    """Crashes, truncations and the newest step included."""
    replay, steps = make(50, n_steps), 40
    theirs = NStepReplayBuffer(
        50 * ENVS,
        replay.observation_space,
        replay.action_space,
        n_envs=ENVS,
        n_steps=n_steps,
        gamma=float(GAMMA),
    )
    truth = drive(replay, steps, seed=4)
    for step, row in enumerate(truth):
        seen, action, following, reward, discount, _ = (np.array(part) for part in zip(*row, strict=True))
        ended = replay.final_number[step] >= 0
        is_cut = ended & (discount > 0.0)
        theirs.add(
            seen, following, action, reward, ended, [{"TimeLimit.truncated": bool(cut)} for cut in is_cut]
        )
    rows = np.repeat(np.arange(steps), 8)
    with patch("numpy.random.randint", lambda *_, size: np.resize(np.arange(ENVS), size)):
        expected = theirs._get_samples(rows)
    got = replay.at(rows, np.resize(np.arange(ENVS), len(rows)))
    np.testing.assert_array_equal(got.observations, expected.observations.numpy())
    np.testing.assert_array_equal(got.next_observations, expected.next_observations.numpy())
    np.testing.assert_allclose(got.rewards, expected.rewards.numpy()[:, 0], rtol=1e-6)
    discounts = expected.discounts * (1.0 - expected.dones)
    np.testing.assert_allclose(got.discounts, discounts.numpy()[:, 0], rtol=1e-6)


@given(steps=st.integers(3, 60), rows=st.integers(4, 12))
def test_what_an_idle_car_did_is_never_drawn(steps, rows):
    """Batches hold transitions of cars that were racing, each as often as the others."""
    replay = make(rows)
    truth = drive(replay, steps, seed=steps, idle_cars=True)
    held = [one for row in truth[steps - replay.size() :] for one in row if one is not None]
    assert replay.can_sample() == bool(held)
    if not held:
        return
    drawn = replay.sample_transitions(np.random.default_rng(0), 2000)
    known = {one[0].tobytes(): i for i, one in enumerate(held)}
    number = np.array([known[observation.tobytes()] for observation in drawn.observations])
    for mine, theirs in zip(drawn, zip(*held, strict=True), strict=True):
        np.testing.assert_array_equal(mine, np.array(theirs)[number])
    assert np.bincount(number, minlength=len(held)).min() > 0.4 * 2000 / len(held)


@given(steps=st.integers(1, 150), late=st.booleans())
def test_cut_and_pasted_it_samples_the_same(steps, late):
    """A replay put together from segments and tail draws the same batches as the one it was cut from.

    late: the segments are cut at the end, when the ring has overwritten rows of the oldest one; on time otherwise.
    """
    replay = make(40)
    drive(replay, steps, seed=steps, idle_cars=True)
    copy = make(40)
    length = replay_segments.segment_rows(replay)
    first = replay_segments.first_needed(replay, steps)
    whole = make(10_000)
    drive(whole, steps, seed=steps, idle_cars=True)
    replay_segments.restart(copy, first)
    for begin in range(first, steps - steps % length, length):
        source = replay if late else whole
        piece = decode(encode(replay_segments.cut(source, begin, begin + length - 1)), what="segment")
        replay_segments.paste(copy, begin, begin + length - 1, piece, "segment")
    tail = replay_segments.tail(replay)
    if steps % length:
        replay_segments.paste(copy, steps - steps % length, steps - 1, tail, "tail")
    replay_segments.finish(copy, steps, tail["newest"])
    assert copy.can_sample() == replay.can_sample()
    if not replay.can_sample():
        return
    for mine, expected in zip(
        copy.sample_transitions(np.random.default_rng(1), 200),
        replay.sample_transitions(np.random.default_rng(1), 200),
        strict=True,
    ):
        np.testing.assert_array_equal(mine, expected)


def test_a_segment_of_another_shape_is_refused_and_changes_nothing():
    """A piece whose arrays do not fit names the array, and the ring stays as it was."""
    replay = make(40)
    drive(replay, 20)
    before = replay.observations.copy()
    piece = replay_segments.cut(replay, 0, 7)
    piece["rewards"] = piece["rewards"].astype(np.float64)
    with pytest.raises(DataError, match="rewards"):
        replay_segments.paste(replay, 0, 7, piece, "segment 0-7")
    np.testing.assert_array_equal(replay.observations, before)


def test_damaged_bytes_are_an_error_that_says_so():
    """A flipped byte or a truncated blob never becomes an array."""
    data = bytearray(encode({"a": np.arange(1000.0)}))
    with pytest.raises(DataError, match="segment"):
        decode(bytes(data[: len(data) // 2]), what="segment")
    with pytest.raises(DataError, match="at most"):
        decode(bytes(data), what="segment", max_bytes=100)
