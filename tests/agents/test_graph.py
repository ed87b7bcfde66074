"""The update as it is replayed on a GPU: recorded once, fed by copies, to the bits of the update made step by step.

Without a GPU a tape stands in for the CUDA graph: it too keeps operators with the memory they read and write, and the
numbers that Python had when it was recorded. Whatever is not copied in, copied out or changed in place shows on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.support.devices import DEVICES, NO_GPU
from training.agents import snapshot
from training.agents.batched_agents import BatchedAgents
from training.agents.codec import SavedState
from training.agents.compiled_update.step import adam_state
from training.agents.cuda_graph import GraphStep, record_graph
from training.agents.networks import Batch, Losses
from training.agents.replay import ReplayRow
from training.agents.sac import Agent, Spaces
from training.agents.stacked_mlp import StackedMlp
from training.agents.update import SacUpdate
from training.config import SacSettings

WIDTH, ACTIONS, ROWS = 11, 2, 32


class Tape(TorchDispatchMode):
    """Keep every operator with its arguments and results; undo what it did once, do it again at will."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []
        self.before: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            msg = "operation not permitted: Python waits for a number of the device"
            raise RuntimeError(msg)
        for tensor in tensors_in([args, kwargs]):
            storage = tensor.untyped_storage()
            self.before.setdefault(storage.data_ptr(), (storage, storage.clone()))
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, result))
        return result

    def undo(self) -> None:
        for storage, held in self.before.values():
            storage.copy_(held)

    def play(self) -> None:
        for func, args, kwargs, result in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tensors_in(result), tensors_in(again), strict=True):
                if old.untyped_storage().data_ptr() != new.untyped_storage().data_ptr():
                    old.copy_(new)


def tensors_in(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def tape(body: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
    """Stand in for `record_graph`."""
    recording = Tape()
    with recording:
        result = body()
    recording.undo()

    def replay() -> torch.Tensor:
        recording.play()
        return result

    return replay


def learner(
    device: str = "cpu", agents: int = 1, compute: torch.dtype = torch.float32, **changes: Any
) -> SacUpdate:
    """Return networks of a fixed seed; their step sizes are powers of two, equal as float32 and as float64."""
    generator = torch.Generator().manual_seed(0)
    stacks = [
        StackedMlp(nets, sizes, device, compute)
        for nets, sizes in (
            (agents, [WIDTH, 24, 16, 2 * ACTIONS]),
            *[(2 * agents, [WIDTH + ACTIONS, 24, 16, 1])] * 2,
        )
    ]
    for stack in stacks:
        stack.flat.copy_(0.3 * torch.randn(stack.flat.shape, generator=generator))
    given = {"learning_rate": 2**-10, "tau": 0.01, "target_entropy": -2.0} | changes
    return SacUpdate(*stacks, log_alpha=torch.full((agents,), -0.5, device=device), **given)


def replayed(update: SacUpdate) -> SacUpdate:
    update._fused = None
    if update.actor.flat.device.type == "cuda":
        assert update._graph._record is record_graph
    else:
        update._graph = GraphStep(update, update.step_eager, tape)
    return update


def eager(update: SacUpdate) -> SacUpdate:
    update._fused = update._graph = None
    return update


def batches(
    count: int, device: str = "cpu", agents: int = 1, rows: int = ROWS, *, seed: int = 1, guides: bool = False
) -> Iterator[tuple[Batch, torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn((agents, rows, *shape), generator=generator)

    for _ in range(count):
        parts = (
            normal(WIDTH),
            torch.tanh(normal(ACTIONS)),
            normal(WIDTH),
            normal(),
            0.98 * (normal() <= 1).float(),
            torch.tanh(normal(ACTIONS)),
        )
        on_device = [part.to(device) for part in parts]
        noise = [normal(ACTIONS).to(device) for _ in range(2)]
        yield (Batch(*on_device[:5], on_device[5] if guides else None), *noise)


def numbers(update: SacUpdate) -> dict[str, torch.Tensor]:
    """Return everything that an update changes."""
    found = {name: getattr(update, name).flat for name in ("actor", "critic", "target")}
    found["log_alpha"] = update.log_alpha
    for name, optimizer in update.optimizers.items():
        found |= {f"{name}.{part}": value for part, value in adam_state(optimizer).items()}
    return {name: value.detach().cpu().clone() for name, value in found.items()}


def assert_same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def assert_same_losses(ours: list[Losses], expected: list[Losses]) -> None:
    for number, (mine, wanted) in enumerate(zip(ours, expected, strict=True)):
        for name, value in mine._asdict().items():
            assert torch.equal(value, getattr(wanted, name)), (number, name)


KINDS = {
    "plain": {},
    "a fixed coefficient": {"target_entropy": None},
    "two agents": {"agents": 2},
    "mixed precision": {"compute": torch.bfloat16},
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("guided", [False, True])
def test_twenty_replayed_updates_equal_those_made_step_by_step(device, kind, guided):
    """From the first on, bit for bit: networks, moments, counters and the losses of every update, read at the end."""
    one, other = replayed(learner(device, **kind)), eager(learner(device, **kind))
    one.imitation_coef = other.imitation_coef = 0.7 if guided else 0.0
    losses: tuple[list[Losses], list[Losses]] = ([], [])
    for batch in batches(20, device, kind.get("agents", 1), guides=guided):
        losses[0].append(one.step(*batch))
        losses[1].append(other.step(*batch))
    assert_same_losses(*losses)
    assert_same_bits(numbers(one), numbers(other))
    assert one._graph._again is not None


@pytest.mark.parametrize("device", DEVICES)
def test_settings_that_change_while_it_learns_are_heard(device):
    """Learning rate, the guide's weight, its end, its return, and batches of another size, each in mid-run."""
    one, other = replayed(learner(device)), eager(learner(device))

    def go_on(seed: int, rows: int = ROWS) -> None:
        for batch in batches(4, device, rows=rows, seed=seed, guides=True):
            one.step(*batch)
            other.step(*batch)
        assert_same_bits(numbers(one), numbers(other))

    for seed, change in enumerate(
        (
            {"imitation_coef": 0.7},
            {"imitation_coef": 0.3},
            {"learning_rate": 2**-8},
            {"imitation_coef": 0.0},
            {"learning_rate": 2**-9},
            {"imitation_coef": 0.3},
        )
    ):
        for update in (one, other):
            update.imitation_coef = change.get("imitation_coef", update.imitation_coef)
            if "learning_rate" in change:
                update.set_learning_rate(change["learning_rate"])
        go_on(seed)
    go_on(10, rows=ROWS // 2)
    go_on(11)


@pytest.mark.parametrize("device", DEVICES)
def test_one_recording_serves_all_updates_of_a_kind(device):
    """A new one is made only where the batch has another shape, or the guide begins or ends."""
    made, update = [], replayed(learner(device))
    record = update._graph._record

    def counted(body):
        made.append(body)
        return record(body)

    update._graph._record = counted
    for weight, rows, expected in ((0.5, ROWS, 1), (0.2, ROWS, 1), (0.0, ROWS, 2), (0.0, 7, 3)):
        update.imitation_coef = weight
        for batch in batches(3, device, rows=rows, guides=True):
            update.step(*batch)
        assert len(made) == expected


@pytest.mark.parametrize("device", DEVICES)
def test_a_recording_that_fails_is_told_once_and_costs_no_update(device):
    """What cannot be recorded, here a body that waits for a number, is done step by step from then on."""
    one, other = replayed(learner(device)), eager(learner(device))
    record = one._graph._record

    def waiting(body):
        def with_a_look() -> torch.Tensor:
            one.log_alpha[0].item()
            return body()

        return record(with_a_look)

    one._graph._record = waiting
    done = list(batches(8, device))
    with pytest.warns(RuntimeWarning, match=r"could not be recorded as a CUDA graph \(.*permitted"):
        one.step(*done[0])
    # From here on a warning is an error: it is told once.
    for batch in (*done[1:], *batches(2, device, rows=7)):
        one.step(*batch)
    for batch in (*done, *batches(2, device, rows=7)):
        other.step(*batch)
    assert_same_bits(numbers(one), numbers(other))
    fresh = replayed(learner(device))  # the next recording is not spoiled by the one that failed
    fresh.step(*done[0])
    assert fresh._graph._again is not None


def test_a_fault_of_the_update_itself_is_not_taken_for_one_of_the_recording():
    update = replayed(learner())
    (((*parts, guides), noise, next_noise),) = batches(1)
    batch = Batch(parts[0][:, :, 1:], *parts[1:], guides)
    with pytest.raises(RuntimeError, match="size"):
        update.step(batch, noise, next_noise)


def team_on(device: str, *, agents: int = 2) -> BatchedAgents:
    """Return agents whose replays hold the same transitions every time."""
    given = Spaces(
        spaces.Box(-1, 1, (WIDTH,), np.float32), spaces.Box(-1, 1, (ACTIONS,), np.float32), num_cars=4
    )
    chosen = SacSettings(buffer_size=1000, net_arch=(24, 16), learning_rate=2**-10)
    made = [Agent(given, chosen, seed=3, device=device, number=a, guided=True) for a in range(agents)]
    rng = np.random.default_rng(4)
    for agent in made:
        for _ in range(30):
            seen, following = rng.normal(size=(2, 4, WIDTH)).astype(np.float32)
            actions, guides = rng.uniform(-1, 1, (2, 4, ACTIONS)).astype(np.float32)
            over = np.zeros(4, dtype=np.bool_)
            rewards = rng.normal(size=4).astype(np.float32)
            agent.replay_buffer.store(ReplayRow(seen, actions, rewards, following, over, over, guides))
    team = BatchedAgents(made, chosen.policy_ema_tau)
    replayed(team.update)
    return team


def everything(team: BatchedAgents) -> list[SavedState]:
    return [snapshot.agent_state_dict(SimpleNamespace(agents=team.agents, team=team), a) for a in range(2)]


def put_back(team: BatchedAgents, saved: list[SavedState]) -> None:
    for number, captured in enumerate(saved):
        snapshot.load_agent_state_dict(SimpleNamespace(agents=team.agents, team=team), number, captured)


def assert_same_state(one: list[SavedState], other: list[SavedState]) -> None:
    for ours, expected in zip(one, other, strict=True):
        assert ours.meta == expected.meta
        assert ours.arrays.keys() == expected.arrays.keys()
        for name, array in ours.arrays.items():
            np.testing.assert_array_equal(array, expected.arrays[name], err_msg=name)


@pytest.mark.parametrize("device", DEVICES)
def test_a_saved_team_goes_on_to_the_same_bits(device):
    """Into a team just made, which records anew, and into one whose recording was made before: all is put in place."""
    whole = team_on(device)
    whole.train(5, ROWS, imitation_coef=0.4)
    saved = everything(whole)
    fresh = team_on(device)
    put_back(fresh, saved)
    assert_same_state(everything(fresh), saved)
    whole.train(7, ROWS, imitation_coef=0.2)
    ended = everything(whole)
    fresh.train(7, ROWS, imitation_coef=0.2)
    assert_same_state(everything(fresh), ended)
    recorded_before = whole
    recording = whole.update._graph._again
    put_back(recorded_before, saved)
    recorded_before.train(7, ROWS, imitation_coef=0.2)
    assert_same_state(everything(recorded_before), ended)
    assert recorded_before.update._graph._again is recording


@pytest.mark.parametrize("device", DEVICES)
def test_what_was_saved_on_another_kind_of_device_goes_on(device):
    """The generator of noise cannot take its state; the stream it begins instead hangs on that state alone."""
    team, saved = team_on(device), everything(team_on(device))
    kind_of_another_device = np.arange(24, dtype=np.uint8)
    drawn = []
    for first_byte in (0, 0, 1):
        kind_of_another_device[0] = first_byte
        for captured in saved:
            captured.arrays["random.noise"] = kind_of_another_device
        put_back(team, saved)
        drawn.append(torch.randn(3, generator=team.agents[0].noise, device=device))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    team.train(2, ROWS)


# --- what only a GPU can show ---


@pytest.fixture
def full_precision():
    """Switch off the products with ten bits of mantissa that training allows."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.gpu
@NO_GPU
@pytest.mark.usefixtures("full_precision")
@pytest.mark.parametrize("guided", [False, True])
def test_a_gpu_learns_what_a_processor_learns(guided):
    """20 updates, to float32 rounding; the processor's are those of its compiled code."""
    there, here = replayed(learner("cuda")), learner("cpu")
    there.imitation_coef = here.imitation_coef = 0.7 if guided else 0.0
    for on_gpu, on_cpu in zip(batches(20, "cuda", guides=guided), batches(20, guides=guided), strict=True):
        there.step(*on_gpu)
        here.step(*on_cpu)
    ours, expected = numbers(there), numbers(here)
    for name in ("actor", "critic", "target", "log_alpha"):
        torch.testing.assert_close(ours[name], expected[name], rtol=5e-4, atol=1e-4, msg=name)


@pytest.mark.gpu
@NO_GPU
def test_policies_act_and_explore_on_a_gpu_as_on_a_processor():
    """The averaged policy comes off the device whole; exploration gives numpy's arrays, from the agents' own noise."""
    team, again = team_on("cuda"), team_on("cuda")
    seen = np.random.default_rng(5).normal(size=(2, 4, WIDTH)).astype(np.float32)
    np.testing.assert_array_equal(team.explore(seen), again.explore(seen))
    team.train(2, ROWS)
    policy = team.average_policy(1)
    assert policy.stack.flat.device.type == "cpu"
    assert torch.equal(policy.stack.flat, team.average.part(1, 1).cpu())
    assert policy.act(seen[1]).shape == (4, ACTIONS)
    assert all(np.isfinite(loss) for loss in team.agents[1].losses.values())
