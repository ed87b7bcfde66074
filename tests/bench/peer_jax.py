"""Peers that need JAX, run by another Python: BENCH_JAX_PYTHON tests/bench/peer_jax.py sbx|gym ARGUMENTS.

For every line on standard input it works once and answers with the units of work done. It imports nothing of ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np


def sbx_updates(observation: int, batch: int, updates: int, *units: int) -> Callable[[], int]:
    """SBX's SAC, updates of a batch from its own replay buffer; units: of the hidden layers."""
    import gymnasium
    from gymnasium import spaces
    from sbx import SAC

    class Still(gymnasium.Env):
        observation_space = spaces.Box(-1, 1, (observation,), np.float32)
        action_space = spaces.Box(-1, 1, (2,), np.float32)

        def reset(self, *, seed=None, options=None):  # noqa: ARG002 - gymnasium's signature
            return self.observation_space.sample(), {}

        def step(self, action):  # noqa: ARG002 - gymnasium's signature
            return self.observation_space.sample(), 0.5, False, False, {}

    model = SAC(
        "MlpPolicy",
        Still(),
        batch_size=batch,
        buffer_size=20_000,
        learning_starts=1_000,
        policy_kwargs={"net_arch": list(units)},
        device="cpu",
    )
    model.learn(1_010)

    def work() -> int:
        model.train(gradient_steps=updates, batch_size=batch)
        return updates

    return work


def gym_steps(track_file: str, beams: int, environments: int, steps: int) -> Callable[[], int]:
    """f1tenth_gym_jax, one car an environment, batched and compiled; physics steps of 10 ms with a scan each.

    Its tracks come by name; the scan's map and the cars' places are replaced by those of the file.
    """
    import jax
    import jax.numpy as jnp
    from f1tenth_gym_jax.envs import f110_env
    from f1tenth_gym_jax.envs.utils import Param
    from scipy.ndimage import distance_transform_edt

    with np.load(track_file) as arrays:
        occupancy, resolution, origin, poses = (
            arrays[name] for name in ("occupancy", "resolution", "origin", "poses")
        )
    env = f110_env.F110Env(
        num_agents=1,
        params=Param(
            map_name="Spielberg",
            num_beams=beams,
            produce_scans=True,
            collision_on=False,
            steering_action_type="steeringangle",
            longitudinal_action_type="velocity",
            timestep_ratio=1,
        ),
    )
    env.distance_transform = distance_transform_edt(occupancy) * float(resolution)
    env.height, env.width = occupancy.shape
    env.resolution, env.orig_x, env.orig_y = float(resolution), float(origin[0]), float(origin[1])
    env.orig_c, env.orig_s = jnp.cos(origin[2]), jnp.sin(origin[2])
    keys = jax.random.split(jax.random.key(0), environments)
    _, state = jax.vmap(env.reset)(keys)
    places = jnp.asarray(poses[np.arange(environments) % len(poses)], dtype=jnp.float32)
    cars = jnp.zeros_like(state.cartesian_states).at[:, 0, 0].set(places[:, 0])
    cars = cars.at[:, 0, 1].set(places[:, 1]).at[:, 0, 4].set(places[:, 2]).at[:, 0, 3].set(3.0)
    state = state.replace(cartesian_states=cars)
    actions = {"agent_0": jnp.tile(jnp.array([0.0, 3.0]), (environments, 1))}
    batch = jax.vmap(env.step_env, in_axes=(0, 0, 0))

    @jax.jit
    def run(keys, state):
        def one(state, _):
            _, state, _, _, _ = batch(keys, state, actions)
            return state, None

        return jax.lax.scan(one, state, None, length=steps)[0]

    def work() -> int:
        jax.block_until_ready(run(keys, state))
        return steps * environments

    return work


def main() -> None:
    """Answer lines until there are no more."""
    what, *arguments = sys.argv[1:]
    numbers = [int(a) for a in arguments if a.isdigit()]
    work = sbx_updates(*numbers) if what == "sbx" else gym_steps(arguments[0], *numbers)
    for _ in sys.stdin:
        sys.stdout.write(f"{work()}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
