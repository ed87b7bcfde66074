"""Save everything that the next step of a run depends on, as arrays and JSON, and restore it in place.

Taken between two steps or two updates (`MultiAgentSAC.at_boundary`, `at_pause`), so none of them is half done. Each
agent's state is separate, in the same form whether it learnt alone or with others; the environments, with everything
that all agents share, are another part. tests/agents/test_left_out.py leaves each item out in turn and checks that the
resumed run differs.
"""

from __future__ import annotations

import hashlib
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..errors import DataError
from .codec import SavedState, copy_into
from .compiled_update.step import adam_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from .batched_agents import BatchedAgents
    from .multi_agent import MultiAgentSAC
    from .stacked_mlp import StackedMlp

    Arrays = dict[str, NDArray[Any]]


class _Place(NamedTuple):
    """The place of an agent's array among those of all: networks first to first + count of a flat tensor."""

    stack: StackedMlp
    flat: torch.Tensor
    first: int
    count: int


def agent_state_dict(learner: MultiAgentSAC, number: int) -> SavedState:
    """Copy the state of one agent; the replay buffer's rows are saved separately."""
    agent, team = learner.agents[number], learner.team
    arrays = {
        name: place.stack.part(place.first, place.count, place.flat) for name, place in places(team, number)
    }
    arrays |= dict(numbers(team, number))
    found = {name: tensor.detach().cpu().numpy().copy() for name, tensor in arrays.items()}
    found["random.noise"] = agent.noise.get_state().numpy().copy()
    meta = {
        "n_updates": agent._n_updates,
        "losses": agent.losses,
        "generator": agent.rng.bit_generator.state,
        "replay_steps": agent.replay_buffer.steps,
    }
    return SavedState(found, meta)


def load_agent_state_dict(learner: MultiAgentSAC, number: int, state: SavedState) -> None:
    """Put one agent's state back, in place; the learner was made with the run's own settings.

    Raises DataError where an array or a value does not fit it.
    """
    agent, (arrays, meta) = learner.agents[number], state
    with _explained(f"agent {number}"):
        restore_networks(learner, number, arrays)
        _load_optimizers(learner.team, number, arrays)
        _load_noise(agent.noise, arrays["random.noise"])
        agent.rng.bit_generator.state = meta["generator"]
        agent._n_updates = int(meta["n_updates"])
        agent.losses = dict(meta["losses"])


def restore_networks(learner: MultiAgentSAC, number: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Give an agent the networks and the entropy coefficient of a saved one, and nothing else of it."""
    _copy(learner.team, number, arrays, lambda name: not name.startswith("adam."))


def world_state_dict(learner: MultiAgentSAC) -> SavedState:
    """Copy the state of the environments, the opponents, and the generators that libraries use behind our back."""
    env = learner.env.state_dict()
    arrays = {f"world.{name}": array for name, array in env["world"].items()}
    arrays |= {f"race.{name}": array for name, array in env["arrays"].items()}
    arrays |= {f"episode.{name}": array for name, array in env["sums"].items()}
    arrays |= {"episode_length": env["length"], "last_observations": _seen(learner)}
    arrays["random.torch"] = torch.get_rng_state().numpy().copy()
    if learner.team.device.type == "cuda":
        arrays["random.cuda"] = torch.cuda.get_rng_state().numpy().copy()
    meta: dict[str, Any] = {
        "num_timesteps": learner.num_timesteps,
        "began": learner.observations is not None,
        "round": [learner.steps_in_round, learner.updates_in_round],
        "generators": {
            "starts": env["generators"],
            "python": _python_state(),
            "numpy": _legacy_numpy_state(),
        },
    }
    if learner.league is not None:
        league, meta["league"] = learner.league.state_dict()
        arrays |= league
    if learner.unended is not None:
        arrays["unended"] = learner.unended
    return SavedState({name: np.array(array, order="C") for name, array in arrays.items()}, meta)


def load_world_state_dict(learner: MultiAgentSAC, state: SavedState) -> None:
    """Put the environments back, in place. Raises DataError where an array or a value does not fit them."""
    arrays, meta = state
    with _explained("environments"):
        _load_environments(learner, arrays, meta["generators"]["starts"])
        _load_libraries(arrays, meta["generators"], learner.team.device)
        learner.num_timesteps = int(meta["num_timesteps"])
        # Not in checkpoints from before rounds were saved in their middle.
        learner.steps_in_round, learner.updates_in_round = map(int, meta.get("round", (0, 0)))
        learner.unended = arrays["unended"].astype(np.bool_) if "unended" in arrays else None
        seen = _seen(learner)
        copy_into(seen, arrays, "last_observations", what="checkpoint")
        learner.observations = seen if meta["began"] else None
        if learner.league is not None:
            learner.league.load_state_dict(SavedState(arrays, meta["league"]))


def _seen(learner: MultiAgentSAC) -> NDArray[np.float32]:
    """Return a copy of the last observations (E, N, D); zeros before the first step."""
    if learner.observations is not None:
        return learner.observations.copy()
    env = learner.env
    return np.zeros((env.num_envs, env.num_cars, *env.observation_space.shape), dtype=np.float32)


def places(team: BatchedAgents, number: int) -> Iterator[tuple[str, _Place]]:
    """Name everything of an agent that has the shape of a network: weights, and Adam's two moments of them."""
    update, agents = team.update, len(team.agents)
    stacks = {"actor": update.actor, "critic": update.critic, "target": update.target}
    for name, stack in (*stacks.items(), ("average", team.average)):
        count = stack.nets // agents
        yield name, _Place(stack, stack.flat, number * count, count)
    for name in ("actor", "critic"):
        stack, moments = stacks[name], adam_state(update.optimizers[name])
        count = stack.nets // agents
        for part in ("exp_avg", "exp_avg_sq"):
            yield f"adam.{name}.{part}", _Place(stack, moments[part], number * count, count)


def numbers(team: BatchedAgents, number: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Name the single numbers of an agent; the optimizers' counters of steps are one for all agents."""
    update = team.update
    yield "log_alpha", update.log_alpha[number : number + 1]
    for name, optimizer in update.optimizers.items():
        state = adam_state(optimizer)
        yield f"adam.{name}.step", state["step"]
        if name == "alpha":
            for part in ("exp_avg", "exp_avg_sq"):
                yield f"adam.{name}.{part}", state[part][number : number + 1]


def _copy(
    team: BatchedAgents, number: int, arrays: Mapping[str, NDArray[Any]], wanted: Callable[[str], bool]
) -> None:
    with torch.no_grad():
        for name, place in places(team, number):
            if wanted(name):
                like = place.stack.part(place.first, place.count, place.flat)
                place.stack.set_part(place.first, place.count, _read(arrays, name, like), place.flat)
        for name, tensor in numbers(team, number):
            if wanted(name):
                tensor.copy_(_read(arrays, name, tensor))


def _load_optimizers(team: BatchedAgents, number: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    counters = [adam_state(o)["step"].item() for o in team.update.optimizers.values()]
    _copy(team, number, arrays, lambda name: name.startswith("adam."))
    after = [adam_state(o)["step"].item() for o in team.update.optimizers.values()]
    if number > 0 and after != counters:
        raise DataError(
            f"agent {number} has made {after[0]:.0f} updates, those before it {counters[0]:.0f}",
            next_step="They were not saved together; resume an older step with --at STEP.",
        )


def _read(arrays: Mapping[str, NDArray[Any]], name: str, like: torch.Tensor) -> torch.Tensor:
    host = np.empty(tuple(like.shape), dtype=np.float32)
    copy_into(host, arrays, name, what="checkpoint")
    return torch.from_numpy(host).to(like.device)


def _load_noise(generator: torch.Generator, saved: NDArray[np.uint8]) -> None:
    """Restore an agent's generator; on another kind of device, begin a stream that is derived from the saved one.

    A run may resume on a machine without a GPU, or with one that it did not have before. The results are then not
    bit-identical, but the run does not start from scratch.
    """
    if saved.size == generator.get_state().numel():
        generator.set_state(torch.from_numpy(saved.copy()))
    else:
        generator.manual_seed(int.from_bytes(hashlib.sha256(saved.tobytes()).digest()[:8], "little"))


def _load_libraries(
    arrays: Mapping[str, NDArray[Any]], states: Mapping[str, Any], device: torch.device
) -> None:
    torch.set_rng_state(torch.from_numpy(arrays["random.torch"].copy()))
    if device.type == "cuda" and "random.cuda" in arrays:
        torch.cuda.set_rng_state(torch.from_numpy(arrays["random.cuda"].copy()))
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


def _load_environments(
    learner: MultiAgentSAC, arrays: Mapping[str, NDArray[Any]], starts: list[dict[str, Any]]
) -> None:
    def part(prefix: str) -> Arrays:
        return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}

    learner.env.load_state_dict(
        {
            "world": part("world."),
            "arrays": part("race."),
            "sums": part("episode."),
            "length": arrays["episode_length"],
            "generators": starts,
        }
    )


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Raise DataError, and say what does not fit, if anything is missing or of another kind."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the checkpoint does not hold what the {what} of this run need: {error!r}",
            next_step="Resume with the run's own config.json and the same version.",
        ) from error
