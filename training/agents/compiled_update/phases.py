"""The SAC update: five phases, in each of them two tasks for every agent, and a barrier after each.

    actor_forward   the actor at the observations (part 0) and the next ones (part 1)
    critic_forward  target network and critic `part` there; the entropy coefficient's step
    critic_update   critic `part`: gradient, Adam, Polyak; then its values of the actor's actions
    actor_gradient  half of the rows: the actions' gradient through the smaller critic, and on through the actor
    actor_update    half of each layer's units: the actor's gradient and Adam

The same formulas in the same order as `SacUpdate` writes them with torch. It is faster because it leaves work out: no
operator is dispatched; bias, ReLU and its gradient are applied while a tile is in registers; Adam and Polyak follow
each layer's gradient while it is in the cache; and in each row only the critic with the smaller value is
differentiated. The terms of each sum and their order are the same for any number of threads.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import float32, int64, prange

from .array_layout import PARTS, ArrayLayout, BatchArrays, Learned, Network, Rates, Shape, Task
from .layers import (
    adam,
    adam_layer,
    add_up,
    backward,
    copy,
    forward,
    polyak_layer,
    relu_mask,
    weights_gradient,
)
from .products import blocks_of, entry, inner, leading_dim, multiply, pack_rows
from .tile import ROWS, address_of, call_at, out_of_line

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
TANH_EPSILON = 1e-6  # stable-baselines3's SquashedDiagGaussianDistribution
# Instead of an expert's action, which is within -1 and 1: the expert teaches nothing there. No NaN: compiled code may
# take for granted that there is none.
NO_GUIDE = 2.0
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

# A phase is reached by its address, so that it is compiled once, not again in the parallel loop and its wrappers.
phase = entry(_nrt=False, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@entry(parallel=True)
def update(
    phases: np.ndarray,
    layout: ArrayLayout,
    actor_shape: Shape,
    critic_shape: Shape,
    workspace: np.ndarray,
    order: np.ndarray,
    actor: Learned,
    critic: Learned,
    target: np.ndarray,
    alpha: Learned,
    batch: BatchArrays,
    rates: Rates,
    losses: np.ndarray,
) -> None:
    """Update all agents once.

    phases: their addresses, see `addresses`. n: the common array, float32, where.step times the agents that are
    updated at the same time. order: (A, 2, B) int64, room for row numbers. target: flat. losses: (A, 4) float32,
    written: actor, critic, entropy, coefficient.
    """
    agents, together = batch.rewards.shape[0], len(workspace) // layout.step
    for begin in range(0, agents, together):
        end = min(agents, begin + together)
        for p in range(len(phases)):
            for index in prange(PARTS * (end - begin)):
                task = int64(
                    index
                )  # prange counts without sign, and what is reached by address takes what it is given
                call_at(
                    phases[p],
                    layout,
                    actor_shape,
                    critic_shape,
                    workspace,
                    order,
                    actor,
                    critic,
                    target,
                    alpha,
                    batch,
                    rates,
                    begin + task // PARTS,
                    task % PARTS,
                )
        for agent in range(begin, end):
            base = _base(layout, workspace, agent)
            first, second = base + layout.sums[0], base + layout.sums[1]
            losses[agent, 0] = workspace[first + 1] + workspace[second + 1]
            losses[agent, 1] = workspace[first] + workspace[second]
            losses[agent, 2] = workspace[first + 2]
            losses[agent, 3] = workspace[base + layout.alpha]


@inner
def _base(layout: ArrayLayout, workspace: np.ndarray, agent: int) -> int:
    """Return where an agent's numbers begin in the common array: agents that are updated in turn use the same place."""
    return agent % (len(workspace) // layout.step) * layout.step


def addresses(*arguments: object) -> np.ndarray:
    """Return the phases' addresses, compiled for the types of the arguments of `update` from `phases` to `losses`."""
    kinds = (*(numba.typeof(argument) for argument in arguments), int64, int64)
    return np.array(
        [
            address_of(function, kinds)
            for function in (actor_forward, critic_forward, critic_update, actor_gradient, actor_update)
        ]
    )


@phase
def actor_forward(  # noqa: ANN201 - compiled for its arguments
    layout, actor_shape, critic_shape, workspace, order, actor, critic, target, alpha, batch, rates, agent, part
):  # fmt: skip
    """Run the actor on the observations (part 0) or the next ones (part 1); sample and squash actions.

    Writes actions (B, A) next to the observations, which gives the critics' inputs, and log pi (B,).
    """
    task, width, actions = (
        Task(layout, workspace, _base(layout, workspace, agent), part),
        layout.observation,
        layout.actions,
    )
    step = leading_dim(width + actions)
    inputs = task.base + (layout.here if part == 0 else layout.following)
    seen = batch.observations if part == 0 else batch.next_observations
    for b in range(layout.rows):
        copy(seen[agent, b], workspace[inputs + b * step :], width)
    forward(task, Network(actor.flat, actor_shape, agent), (inputs, step), layout.actor_values[part])
    if part == 1:
        _squash(task, batch.next_noise[agent], inputs + width, step)
        return
    chosen = task.base + layout.chosen
    for b in range(layout.rows):
        copy(workspace[inputs + b * step :], workspace[chosen + b * step :], width)
        copy(batch.actions[agent, b], workspace[inputs + b * step + width :], actions)
    _squash(task, batch.noise[agent], chosen + width, step)


@inner
def _squash(task: Task, noise: np.ndarray, out: int, step: int) -> None:
    """Sample the actor's actions into a matrix at `out`, rows `step` apart; keep what their gradient needs."""
    out_of_line()
    layout, workspace, base, part = task
    actions, outputs = layout.actions, base + layout.actor_values[part, -1]
    for b in range(layout.rows):
        log_prob = float32(0.0)
        for j in range(actions):
            at = outputs + b * leading_dim(2 * actions) + j
            mean, raw, drawn = workspace[at], workspace[at + actions], noise[b, j]
            log_std = min(max(raw, float32(LOG_STD_MIN)), float32(LOG_STD_MAX))
            std_noise = math.exp(log_std) * drawn
            action = math.tanh(mean + std_noise)
            dtanh = float32(1.0) - action * action
            pair = b * actions + j
            workspace[out + b * step + j] = action
            workspace[base + layout.std_noise[part] + pair] = std_noise
            workspace[base + layout.dtanh[part] + pair] = dtanh
            workspace[base + layout.unclamped[part] + pair] = float32(1.0) if raw == log_std else float32(0.0)
            normal = float32(0.5) * drawn * drawn + log_std + float32(_HALF_LOG_2PI)
            log_prob -= normal + math.log(dtanh + float32(TANH_EPSILON))
        workspace[base + layout.log_prob[part] + b] = log_prob


@phase
def critic_forward(  # noqa: ANN201 - compiled for its arguments
    layout, actor_shape, critic_shape, workspace, order, actor, critic, target, alpha, batch, rates, agent, part
):  # fmt: skip
    """Run critic `part`: its target on the next state and action, itself on the stored ones.

    Part 0 also makes the step of the entropy coefficient: J(alpha), equation 18 of arXiv:1812.05905.
    """
    task, step = (
        Task(layout, workspace, _base(layout, workspace, agent), part),
        leading_dim(layout.observation + layout.actions),
    )
    values, number = layout.critic_values[part], PARTS * agent + part
    forward(task, Network(target, critic_shape, number), (task.base + layout.following, step), values)
    for b in range(layout.rows):
        workspace[task.base + layout.target_value[part] + b] = workspace[
            task.base + values[-1] + b * leading_dim(1)
        ]
    forward(task, Network(critic.flat, critic_shape, number), (task.base + layout.here, step), values)
    if part == 0:
        _entropy(task, alpha, rates, agent)


@inner
def _entropy(task: Task, alpha: Learned, rates: Rates, agent: int) -> None:
    """Note the entropy coefficient that this update uses, then let it learn."""
    layout, workspace, base, _ = task
    logarithm, sums, loss = alpha.flat[agent], base + layout.sums[0], float32(0.0)
    workspace[base + layout.alpha] = math.exp(logarithm)
    if rates.learn_alpha:
        mean = add_up(workspace[base + layout.log_prob[0] :], layout.rows) / float32(layout.rows)
        surplus = mean + rates.target_entropy
        loss = -logarithm * surplus
        workspace[sums + 3] = -surplus
        adam(alpha, agent, workspace[sums + 3 :], 1, rates.alpha_size, rates.alpha_root)
    workspace[sums + 2] = loss


@phase
def critic_update(  # noqa: ANN201 - compiled for its arguments
    layout, actor_shape, critic_shape, workspace, order, actor, critic, target, alpha, batch, rates, agent, part
):  # fmt: skip
    """Update critic `part` by the soft Bellman error J_Q, equation 5 of arXiv:1812.05905.

    Gradient, Adam and Polyak of each layer; then the values (B,) of the actor's actions, which the actor needs.
    """
    task, step = (
        Task(layout, workspace, _base(layout, workspace, agent), part),
        leading_dim(layout.observation + layout.actions),
    )
    network = Network(critic.flat, critic_shape, PARTS * agent + part)
    values, base, sizes = layout.critic_values[part], task.base, critic_shape.sizes
    gradient, spare = base + layout.work[part, 0], base + layout.work[part, 1]
    workspace[base + layout.sums[part]] = _critic_gradient(task, batch, rates, agent, gradient)
    for index in range(len(sizes) - 2, -1, -1):
        inputs = (
            (base + layout.here, step)
            if index == 0
            else (base + values[index - 1], leading_dim(sizes[index]))
        )
        units = sizes[index + 1]
        weights_gradient(task, gradient, units, inputs, sizes[index], 0, units)
        if index > 0:
            backward(task, network, index, gradient, spare, inputs[0], 0, blocks_of(layout.rows))
            gradient, spare = spare, gradient
        adam_layer(task, critic, network, index, 0, units, rates.critic_size, rates.critic_root)
        polyak_layer(target, network, index, rates.tau)
    forward(task, network, (base + layout.chosen, step), values)


@inner
def _critic_gradient(task: Task, batch: BatchArrays, rates: Rates, agent: int, gradient: int) -> float:
    """Write the gradient at a critic's outputs to the matrix at `gradient`; return its loss."""
    layout, workspace, base, part = task
    alpha, first, second = (
        workspace[base + layout.alpha],
        base + layout.target_value[0],
        base + layout.target_value[1],
    )
    outputs, loss = base + layout.critic_values[part, -1], float32(0.0)
    for b in range(layout.rows):
        soft = (
            min(workspace[first + b], workspace[second + b])
            - alpha * workspace[base + layout.log_prob[1] + b]
        )
        wanted = batch.rewards[agent, b] + batch.discounts[agent, b] * soft
        error = workspace[outputs + b * leading_dim(1)] - wanted
        workspace[gradient + b * leading_dim(1)] = error / float32(layout.rows)
        loss += error * error
    return float32(0.5) * loss / float32(layout.rows)


@phase
def actor_gradient(  # noqa: ANN201 - compiled for its arguments
    layout, actor_shape, critic_shape, workspace, order, actor, critic, target, alpha, batch, rates, agent, part
):  # fmt: skip
    """Find the gradient of J_pi, equation 9 of arXiv:1812.05905, for half of the rows.

    Through the smaller critic of each row to its action, and on through the actor's layers.
    """
    task, blocks = Task(layout, workspace, _base(layout, workspace, agent), part), blocks_of(layout.rows)
    half = blocks // 2
    first_block, last_block = (0, half) if part == 0 else (half, blocks)
    first, end = first_block * ROWS, min(layout.rows, last_block * ROWS)
    smallest = float32(0.0)
    for which in range(PARTS):
        chosen = order[agent, which]
        count, total = _smaller_rows(task, which, chosen, first, end)
        smallest += total
        if count > first:
            network = Network(critic.flat, critic_shape, PARTS * agent + which)
            _action_gradient(task, network, chosen[first:count], layout.critic_values[which])
    workspace[task.base + layout.sums[part] + 1] = _actor_gradient(
        task, batch, rates, agent, first, end, smallest
    )
    network = Network(actor.flat, actor_shape, agent)
    for index in range(len(actor_shape.weights) - 1, 0, -1):
        gradient, passed = task.base + layout.gradients[index], task.base + layout.gradients[index - 1]
        gates = task.base + layout.actor_values[0, index - 1]
        backward(task, network, index, gradient, passed, gates, first_block, last_block)


@inner
def _smaller_rows(task: Task, which: int, chosen: np.ndarray, first: int, end: int) -> tuple[int, float]:
    """Write the rows of first to end in which critic `which` is the smaller one into `chosen`, from `first` on.

    Returns where they end and the sum of its values there. Between equals, and where a value is not a number, the
    first critic is taken.
    """
    layout, workspace, base, _ = task
    mine, other = base + layout.critic_values[which, -1], base + layout.critic_values[1 - which, -1]
    count, total = first, float32(0.0)
    for b in range(first, end):
        value, rival = workspace[mine + b * leading_dim(1)], workspace[other + b * leading_dim(1)]
        smaller = value < rival if which == 1 else not rival < value
        if smaller:
            chosen[count] = b
            count += 1
            total += value
    return count, total


@inner
def _action_gradient(task: Task, network: Network, chosen: np.ndarray, values: np.ndarray) -> None:
    """Write d loss / d action through one critic, in the chosen rows, to the matrix of the actor's outputs' gradient.

    These rows are put together into a smaller matrix, so that nothing is multiplied by zero.
    """
    out_of_line()
    layout, workspace, base, part = task
    flat, shape, number = network
    count, last = len(chosen), len(shape.weights) - 1
    gradient, spare, gates = (
        base + layout.work[part, 0],
        base + layout.work[part, 1],
        base + layout.work[part, 2],
    )
    units = shape.sizes[last]
    weights, step = flat[shape.weights[last] + number * units :], leading_dim(units)
    for i in range(count):
        opened = workspace[base + values[last - 1] + chosen[i] * step :]
        relu_mask(
            weights, opened, workspace[gradient + i * step :], units, float32(-1.0) / float32(layout.rows)
        )
    for index in range(last - 1, 0, -1):
        step = leading_dim(shape.sizes[index])
        for i in range(count):
            copy(
                workspace[base + values[index - 1] + chosen[i] * step :],
                workspace[gates + i * step :],
                shape.sizes[index],
            )
        backward(task, network, index, gradient, spare, gates, 0, blocks_of(count))
        gradient, spare = spare, gradient
    inputs, units, panels = shape.sizes[0], shape.sizes[1], base + layout.panels[part]
    actions, step = layout.actions, leading_dim(layout.actions)
    place = shape.weights[0] + number * units * inputs + layout.observation
    pack_rows(flat, place, inputs, units, actions, workspace, panels)
    multiply(
        workspace,
        gradient,
        leading_dim(units),
        panels,
        units,
        actions,
        spare,
        step,
        spare,
        0,
        blocks_of(count),
    )
    for i in range(count):
        target = base + layout.gradients[-1] + chosen[i] * leading_dim(2 * actions)
        copy(workspace[spare + i * step :], workspace[target:], actions)


@inner
def _actor_gradient(
    task: Task, batch: BatchArrays, rates: Rates, agent: int, first: int, end: int, smallest: float
) -> float:
    """Turn the gradient at the actions into that at the actor's outputs, in place; return these rows' part of the loss.

    smallest: sum of the smaller critic's values in these rows.
    """
    out_of_line()
    layout, workspace, base, _ = task
    actions, width, alpha = layout.actions, layout.observation, workspace[base + layout.alpha]
    share = float32(1.0) / float32(layout.rows)
    weight, log_prob = alpha * share, float32(0.0)
    for b in range(first, end):
        log_prob += workspace[base + layout.log_prob[0] + b]
        for j in range(actions):
            pair, at = b * actions + j, base + layout.gradients[-1] + b * leading_dim(2 * actions) + j
            dtanh = workspace[base + layout.dtanh[0] + pair]
            action = workspace[base + layout.chosen + b * leading_dim(width + actions) + width + j]
            # d log_prob / du of the squashing term -log(1 - tanh(u)^2 + epsilon); the Gaussian's own terms cancel.
            squash = float32(2.0) * action * dtanh / (dtanh + float32(TANH_EPSILON))
            at_u = weight * squash + workspace[at] * dtanh
            at_log_std = at_u * workspace[base + layout.std_noise[0] + pair] - weight
            workspace[at + actions] = at_log_std * workspace[base + layout.unclamped[0] + pair]
            if rates.imitation_coef > float32(0.0):
                # The gradient of weight x mean |tanh(mean) - expert action|^2 at the mean.
                driven = math.tanh(
                    workspace[base + layout.actor_values[0, -1] + b * leading_dim(2 * actions) + j]
                )
                guide = batch.guides[agent, b, j]
                off = driven - guide if guide < float32(NO_GUIDE) else float32(0.0)
                at_u += float32(2.0) * rates.imitation_coef * share * off * (float32(1.0) - driven * driven)
            workspace[at] = at_u
    return (alpha * log_prob - smallest) * share


@phase
def actor_update(  # noqa: ANN201 - compiled for its arguments
    layout, actor_shape, critic_shape, workspace, order, actor, critic, target, alpha, batch, rates, agent, part
):  # fmt: skip
    """Update half of the units of each actor layer: gradient of the weights, then Adam."""
    task, network = (
        Task(layout, workspace, _base(layout, workspace, agent), part),
        Network(actor.flat, actor_shape, agent),
    )
    base, sizes, step = task.base, actor_shape.sizes, leading_dim(layout.observation + layout.actions)
    for index in range(len(sizes) - 2, -1, -1):
        units = sizes[index + 1]
        half = (blocks_of(units) + 1) // 2 * ROWS
        first, end = (0, min(units, half)) if part == 0 else (half, units)
        if first < end:
            inputs = (
                (base + layout.here, step)
                if index == 0
                else (base + layout.actor_values[0, index - 1], leading_dim(sizes[index]))
            )
            weights_gradient(task, base + layout.gradients[index], units, inputs, sizes[index], first, end)
            adam_layer(task, actor, network, index, first, end, rates.actor_size, rates.actor_root)
