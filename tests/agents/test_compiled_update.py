"""The compiled update: its products against numpy's, its steps against those that update.py takes with torch."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.agents.compiled_update import products
from training.agents.compiled_update.tile import ROWS
from training.agents.networks import Batch
from training.agents.stacked_mlp import StackedMlp
from training.agents.update import SacUpdate
from training.errors import ConfigurationError

# Numbers that are not to be touched.
UNTOUCHED = np.float32(-77.0)


class Numbers:
    """An array that matrices are put into as the kernels want them."""

    def __init__(self, size: int = 60_000) -> None:
        self.array, self.end = np.full(size, UNTOUCHED), 0

    def put(self, matrix: np.ndarray) -> tuple[int, int]:
        """Return the matrix's place and the step of its rows."""
        place, step = self.room(*matrix.shape)
        for i, row in enumerate(matrix):
            self.array[place + i * step : place + i * step + len(row)] = row
        return place, step

    def room(self, rows: int, columns: int) -> tuple[int, int]:
        place, step = self.end, leading_dim(columns)
        self.end += (rows + 2 * ROWS) * step
        return place, step

    def get(self, place: int, step: int, rows: int, columns: int) -> np.ndarray:
        return np.array([self.array[place + i * step : place + i * step + columns] for i in range(rows)])


@numba.njit
def by_rows(kind, n, a, a_step, panels, depth, columns, out, step, e, blocks):
    if kind == 0:
        products.multiply(n, a, a_step, panels, depth, columns, out, step, e, 0, blocks)
    elif kind == 1:
        products.layer(n, a, a_step, panels, depth, columns, out, step, e, 0, blocks)
    elif kind == 2:
        products.hidden_layer(n, a, a_step, panels, depth, columns, out, step, e, 0, blocks)
    else:
        products.through_relu(n, a, a_step, panels, depth, columns, out, step, e, 0, blocks)


@numba.njit
def pack_transposed(source, step, columns, depth, n, panels):
    products.pack_transposed(source, 0, step, columns, depth, n, panels)


@numba.njit
def pack_rows(source, place, step, depth, columns, n, panels):
    products.pack_rows(source, place, step, depth, columns, n, panels)


@numba.njit
def transposed(n, a, a_step, panels, depth, columns, out, step, blocks):
    products.multiply_transposed(n, a, a_step, panels, depth, columns, out, step, 0, blocks)


leading_dim, blocks_of = products.leading_dim.py_func, products.blocks_of.py_func
size = st.integers(1, 40)


@pytest.mark.slow
@settings(max_examples=60)
@given(rows=size, depth=size, columns=size, seed=st.integers(0, 1000))
def test_products_of_any_shape_are_numpys(rows, depth, columns, seed):
    """A layer, with and without ReLU, and the gradient back through it."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(rows, depth)).astype(np.float32)
    weights = rng.normal(size=(columns, depth)).astype(np.float32)
    bias, gates = (rng.normal(size=s).astype(np.float32) for s in (columns, (rows, columns)))
    n = Numbers()
    (a_place, a_step), (gates_place, step) = n.put(a), n.put(gates)
    (panels, _), (bias_place, _) = n.room(depth, columns + 16), n.put(bias[None])
    out, _ = n.room(rows, columns)
    pack_transposed(weights.ravel(), depth, columns, depth, n.array, panels)
    expected = a @ weights.T
    for kind, (e, wanted) in enumerate(
        (
            (out, expected),
            (bias_place, expected + bias),
            (bias_place, np.maximum(expected + bias, 0)),
            (gates_place, np.where(gates > 0, expected, 0)),
        )
    ):
        by_rows(kind, n.array, a_place, a_step, panels, depth, columns, out, step, e, blocks_of(rows))
        np.testing.assert_allclose(n.get(out, step, rows, columns), wanted, rtol=1e-5, atol=1e-5)
    pack_rows(weights.T.ravel(), 0, columns, depth, columns, n.array, panels)
    by_rows(0, n.array, a_place, a_step, panels, depth, columns, out, step, out, 1)
    first = min(rows, ROWS)
    np.testing.assert_allclose(n.get(out, step, first, columns), expected[:first], rtol=1e-5, atol=1e-5)


@settings(max_examples=60)
@given(rows=size, units=size, columns=size, seed=st.integers(0, 1000))
def test_a_product_with_a_transposed_factor_is_numpys(rows, units, columns, seed):
    """The gradient of a layer's weights."""
    rng = np.random.default_rng(seed)
    gradient = rng.normal(size=(rows, units)).astype(np.float32)
    inputs = rng.normal(size=(rows, columns)).astype(np.float32)
    n = Numbers()
    (place, step), (seen, seen_step) = n.put(gradient), n.put(inputs)
    (panels, _), (out, out_step) = n.room(rows, columns + 16), n.room(units, columns)
    pack_rows(n.array, seen, seen_step, rows, columns, n.array, panels)
    transposed(n.array, place, step, panels, rows, columns, out, out_step, blocks_of(units))
    expected = gradient.T @ inputs
    np.testing.assert_allclose(n.get(out, out_step, units, columns), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64 has vectors of two widths")
def test_tiles_of_avx2_are_numpys_too(tmp_path):
    """The image's kernels are made for every processor with AVX2; this one may have wider vectors, and other tiles."""
    shape = "from training.agents.compiled_update.tile import LANES, ROWS; assert (ROWS, LANES) == (6, 8)"
    products_of_numpy = ["-m", "pytest", "-q", "-n", "0", "-k", "numpys and not avx2", __file__]
    environment = {
        **os.environ,
        "NUMBA_CPU_NAME": "x86-64-v3",
        "NUMBA_CPU_FEATURES": "+avx2,+fma",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    for arguments, told in ((["-c", shape], ""), (products_of_numpy, "2 passed")):
        done = subprocess.run(
            [sys.executable, *arguments],
            env=environment,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert told in done.stdout


def learner(agents=1, observation=11, hidden=(24, 16), actions=2, scale=0.3, **changes) -> SacUpdate:
    generator = torch.Generator().manual_seed(0)
    stacks = [
        StackedMlp(agents, [observation, *hidden, 2 * actions]),
        *(StackedMlp(2 * agents, [observation + actions, *hidden, 1]) for _ in range(2)),
    ]
    for stack in stacks:
        stack.flat.copy_(scale * torch.randn(stack.flat.shape, generator=generator))
    given_ = {"learning_rate": 1e-3, "tau": 0.01, "target_entropy": -2.0} | changes
    return SacUpdate(*stacks, log_alpha=torch.full((agents,), -0.5), **given_)


def batches(count, agents=1, rows=64, observation=11, actions=2, *, guides=False):
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn((agents, rows, *shape), generator=generator)

    for _ in range(count):
        transitions = Batch(
            normal(observation),
            torch.tanh(normal(actions)),
            normal(observation),
            normal(),
            0.98 * (normal() <= 1).float(),
            torch.tanh(normal(actions)) if guides else None,
        )
        yield transitions, normal(actions), normal(actions)


DIFFER = (
    "training/agents/update.py (eager) and training/agents/compiled_update/phases.py (compiled) "
    "no longer compute the same: "
    "make the same change in both, or train with sac.update_backend=eager"
)


def eager(**shape: Any) -> SacUpdate:
    return learner(backend="eager", **shape)


def close(ours: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float) -> None:
    """Compare, and name both files where they differ: whoever edits one of them sees this first."""
    torch.testing.assert_close(ours, expected, rtol=rtol, atol=atol, msg=lambda text: f"{DIFFER}\n{text}")


def assert_same(one: SacUpdate, other: SacUpdate) -> None:
    for name in ("actor", "critic", "target"):
        close(getattr(one, name).flat, getattr(other, name).flat, rtol=2e-4, atol=3e-5)
    close(one.log_alpha, other.log_alpha, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "rows"),
    [
        ({}, 64),
        ({"hidden": (5,)}, 7),
        ({"hidden": (20, 9, 33)}, 50),
        ({"hidden": (17, 100), "observation": 41, "actions": 3}, 256),
        ({"agents": 3, "actions": 1}, 5),
        ({"hidden": (8, 8), "observation": 1}, 1),
    ],
    ids=str,
)
def test_networks_of_any_shape_move_as_with_torch(shape, rows):
    """Widths, depths, rows and agents that fill no tile; losses and Adam's moments agree too."""
    compiled, plain = learner(**shape), eager(**shape)
    own = {name: value for name, value in shape.items() if name != "hidden"}
    for batch in batches(12, rows=rows, **own):
        ours, expected = compiled.step(*batch), plain.step(*batch)
        for mine, wanted in zip(ours, expected, strict=True):
            close(mine, wanted, rtol=1e-3, atol=1e-5)
    assert_same(compiled, plain)
    for name, optimizer in compiled.optimizers.items():
        (state,), (wanted,) = optimizer.state.values(), plain.optimizers[name].state.values()
        assert state["step"] == wanted["step"] == 12
        close(state["exp_avg_sq"], wanted["exp_avg_sq"], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("changes", [{"scale": 3.0}, {"target_entropy": None}], ids=str)
def test_clamped_deviations_and_a_fixed_coefficient_move_as_with_torch(changes):
    """Scale 3 drives log_std beyond its bounds, where its gradient is 0, and actions to where tanh is flat."""
    compiled, plain = learner(**changes), eager(**changes)
    for batch in batches(6):
        compiled.step(*batch)
        plain.step(*batch)
    assert_same(compiled, plain)


def test_the_guide_draws_as_with_torch():
    compiled, plain, free = learner(), eager(), learner()
    compiled.imitation_coef = plain.imitation_coef = 0.7
    for batch in batches(6, guides=True):
        for update in (compiled, plain, free):
            update.step(*batch)
    assert_same(compiled, plain)
    assert not torch.allclose(compiled.actor.flat, free.actor.flat, atol=1e-3)


@pytest.mark.parametrize("agents", [1, 3])
def test_the_number_of_threads_changes_no_bit(agents):
    before, ends = numba.get_num_threads(), []
    try:
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            update = learner(agents)
            for batch in batches(5, agents):
                update.step(*batch)
            ends.append(torch.cat([update.actor.flat, update.critic.flat, update.target.flat]))
    finally:
        numba.set_num_threads(before)
    assert torch.equal(*ends)


def test_a_run_goes_on_with_torch_where_compiled_code_left_it():
    """Adam's state is torch's own in both: the same weights whichever of the two took which step."""
    mixed, plain = learner(), eager()
    compiled = mixed._fused
    for number, batch in enumerate(batches(8)):
        mixed._fused = compiled if number % 2 else None
        mixed.step(*batch)
        plain.step(*batch)
    assert_same(mixed, plain)


def test_what_is_not_a_number_is_not_hidden():
    """A reward that is not a number reaches the critics, as with torch, and with them the loss that is shown."""
    ((batch, noise, next_noise),) = batches(1)
    batch.rewards[0, 3] = torch.nan
    update = learner()
    losses = update.step(batch, noise, next_noise)
    assert torch.isnan(losses.critic).all()
    assert torch.isnan(update.critic.flat).any()


def test_batches_of_another_size_and_layout_are_taken():
    """Rows of a larger tensor, every second one: the same numbers, the same update."""
    first, second = learner(), learner()
    for rows in (32, 20, 32):
        (((*parts, _), noise, next_noise),) = batches(1, rows=rows)
        wide = [torch.stack([part, torch.zeros_like(part)], dim=2)[:, :, 0] for part in parts]
        assert not wide[0].is_contiguous()
        first.step(Batch(*parts), noise, next_noise)
        second.step(Batch(*wide), noise, next_noise)
    assert torch.equal(first.critic.flat, second.critic.flat)


def test_mixed_precision_stays_with_torch():
    """Its products are in bfloat16, which compiled code does not know."""
    stacks = [
        StackedMlp(nets, sizes, compute=torch.bfloat16)
        for nets, sizes in ((1, (3, 4, 2)), (2, (4, 4, 1)), (2, (4, 4, 1)))
    ]
    update = SacUpdate(*stacks, learning_rate=1e-3, tau=0.1, log_alpha=torch.zeros(1), target_entropy=-1.0)
    assert update._fused is None


# --- which of them computes ---
def test_an_edit_of_the_eager_update_has_an_effect_when_it_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiled code does not see it; the comparison above names both files then."""
    batch = next(batches(1))

    def loses(update: SacUpdate) -> float:
        return float(update.step(*batch).critic)

    before = loses(eager())
    target_of = SacUpdate._target
    monkeypatch.setattr(SacUpdate, "_target", lambda *arguments: 1.0 + target_of(*arguments))
    assert loses(learner()) == pytest.approx(before, rel=1e-3)
    assert loses(eager()) != pytest.approx(before, rel=1e-3)
    compiled, plain = learner(), eager()
    compiled.step(*batch)
    plain.step(*batch)
    with pytest.raises(
        AssertionError, match=r"update\.py \(eager\) and training/agents/compiled_update/phases\.py"
    ):
        assert_same(compiled, plain)


@pytest.mark.parametrize(
    ("backend", "changes", "says"),
    [
        ("compiled", {"hidden": ()}, "with a hidden layer; this is cpu, torch.float32, 0 hidden layers"),
        ("cuda_graph", {}, "cuda_graph needs a GPU; the device is cpu"),
    ],
)
def test_a_backend_that_cannot_compute_is_refused(backend: str, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)):
        learner(backend=backend, **changes)


def test_each_backend_is_the_one_that_is_asked_for() -> None:
    assert learner()._fused is not None
    assert learner(backend="compiled")._fused is not None
    assert eager()._fused is None
