"""Everything that the next step of a run depends on, taken apart into arrays and JSON, and put back in place.

Taken between two steps (`FastSAC.at_boundary`), so no transition and no update is half done. docs/durability.md lists
what stable-baselines3's own save, load, learn forgets; tests/agents/test_resume.py leaves each item out in turn and
sees the resumed run differ.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from training.agents.codec import copy_into
from training.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from training.agents.sac import FastSAC
    from training.envs.vec_env import RaceVecEnv

    Arrays = dict[str, NDArray[Any]]


class Captured(NamedTuple):
    """A learner's state: arrays by name, and JSON data."""

    arrays: dict[str, NDArray[Any]]
    meta: dict[str, Any]


def capture(learner: FastSAC, env: RaceVecEnv) -> Captured:
    """Copy the state of a learner and its environment; the replay buffer's rows go by themselves."""
    arrays = {**_networks(learner), **_random_arrays(learner)}
    world = env.state_dict()
    arrays |= {f"world.{name}": array for name, array in world["world"].items()}
    arrays |= {f"race.{name}": array for name, array in world["arrays"].items()}
    arrays |= {f"episode.{name}": array for name, array in world["sums"].items()}
    arrays["episode_length"] = world["length"]
    arrays["last_observations"] = np.array(learner._last_obs)
    arrays["last_episode_starts"] = np.array(learner._last_episode_starts)
    meta = {
        "num_timesteps": learner.num_timesteps,
        "n_updates": learner._n_updates,
        "episodes": learner._episode_num,
        "recent_episodes": list(learner.ep_info_buffer or ()),
        "losses": learner.losses,
        "generators": {
            "batches": learner.rng.bit_generator.state,
            "starts": world["generators"],
            "python": _python_state(),
            "numpy": _legacy_numpy_state(),
            "action_space": learner.action_space.np_random.bit_generator.state,
        },
        "replay_steps": learner.replay_buffer.steps,
    }
    return Captured({name: np.array(array, order="C") for name, array in arrays.items()}, meta)


def restore(learner: FastSAC, env: RaceVecEnv, captured: Captured) -> None:
    """Put a state back, in place; the learner and environment were made with the run's own settings.

    Raises DataError where an array or a value does not fit them.
    """
    arrays, meta = captured
    try:
        _restore_networks(learner, arrays)
        _restore_environment(env, arrays, meta)
        _restore_random(learner, arrays, meta["generators"])
        learner._last_obs = np.empty((env.num_envs, *env.observation_space.shape), dtype=np.float32)
        copy_into(learner._last_obs, arrays, "last_observations", what="checkpoint")
        learner._last_episode_starts = np.empty(env.num_envs, dtype=np.bool_)
        copy_into(learner._last_episode_starts, arrays, "last_episode_starts", what="checkpoint")
        learner.num_timesteps = int(meta["num_timesteps"])
        learner._n_updates = int(meta["n_updates"])
        learner._episode_num = int(meta["episodes"])
        learner.ep_info_buffer = deque(meta["recent_episodes"], maxlen=learner._stats_window_size)
        learner.ep_success_buffer = deque(maxlen=learner._stats_window_size)
        learner.losses = dict(meta["losses"])
    except (KeyError, TypeError, ValueError) as error:
        msg = f"the checkpoint does not hold what a {type(learner).__name__} needs: {error!r}"
        raise DataError(
            msg, next_step="Resume with the run's own config.json and the same version."
        ) from error


def _networks(learner: FastSAC) -> Arrays:
    update = learner.update
    tensors = {"actor": update.actor.flat, "critic": update.critic.flat, "target": update.target.flat}
    tensors |= {"average": learner.average.flat, "log_alpha": update.log_alpha}
    for name, optimizer in update.optimizers.items():
        for part, value in _adam_state(optimizer).items():
            tensors[f"adam.{name}.{part}"] = value
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}


def _restore_networks(learner: FastSAC, arrays: Mapping[str, NDArray[Any]]) -> None:
    update = learner.update
    targets = {"actor": update.actor.flat, "critic": update.critic.flat, "target": update.target.flat}
    targets |= {"average": learner.average.flat, "log_alpha": update.log_alpha}
    for name, optimizer in update.optimizers.items():
        for part, value in _adam_state(optimizer).items():
            targets[f"adam.{name}.{part}"] = value
    with torch.no_grad():
        for name, tensor in targets.items():
            host = np.empty(tuple(tensor.shape), dtype=np.float32)
            copy_into(host, arrays, name, what="checkpoint")
            tensor.copy_(torch.from_numpy(host))


def _adam_state(optimizer: torch.optim.Adam) -> dict[str, torch.Tensor]:
    """Return the tensors of Adam's state, made first where no step has been taken."""
    parameter = optimizer.param_groups[0]["params"][0]
    state = optimizer.state[parameter]
    if not state:
        # As torch.optim.Adam's first step makes them (fused: the counter is a float32 tensor on the device).
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    return dict(state)


def _random_arrays(learner: FastSAC) -> Arrays:
    arrays = {
        "random.torch": torch.get_rng_state().numpy().copy(),
        "random.noise": learner.noise.get_state().numpy().copy(),
    }
    if torch.cuda.is_available():
        arrays["random.cuda"] = torch.cuda.get_rng_state().numpy().copy()
    return arrays


def _restore_random(learner: FastSAC, arrays: Mapping[str, NDArray[Any]], states: Mapping[str, Any]) -> None:
    torch.set_rng_state(torch.from_numpy(arrays["random.torch"].copy()))
    learner.noise.set_state(torch.from_numpy(arrays["random.noise"].copy()))
    if torch.cuda.is_available() and "random.cuda" in arrays:
        torch.cuda.set_rng_state(torch.from_numpy(arrays["random.cuda"].copy()))
    learner.rng.bit_generator.state = states["batches"]
    learner.action_space.np_random.bit_generator.state = states["action_space"]
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002 - a library may use it


def _python_state() -> list[Any]:
    version, internal, gauss = random.getstate()
    return [version, list(internal), gauss]


def _legacy_numpy_state() -> list[Any]:
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - a library may use it
    return [name, [int(k) for k in keys], int(position), int(has_gauss), float(cached)]


def _restore_environment(
    env: RaceVecEnv, arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any]
) -> None:
    def part(prefix: str) -> Arrays:
        return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}

    env.load_state_dict(
        {
            "world": part("world."),
            "arrays": part("race."),
            "sums": part("episode."),
            "length": arrays["episode_length"],
            "generators": meta["generators"]["starts"],
        }
    )
