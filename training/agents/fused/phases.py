"""The update itself: five phases, in each of them two tasks for every agent, and a barrier after each.

    act      the actor at the observations (part 0) and the next ones (part 1)
    value    target network and critic `part` there; the entropy coefficient's step
    learn    critic `part`: gradient, Adam, Polyak; then its values of the actor's actions
    improve  half of the rows: the actions' gradient through the smaller critic, and on through the actor
    follow   half of each layer's units: the actor's gradient and Adam

The same formulas in the same order as `SacUpdate` writes them with torch. The gain is in what does not happen: no
operator is dispatched, bias, ReLU and its gradient are applied while a tile is in registers, Adam and Polyak follow
each layer's gradient while it is in the cache, and of the two critics only the smaller one is differentiated in a row.
What is added up, and in which order, is the same for any number of threads.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import float32, int64, prange

from training.agents.fused.layers import (
    adam,
    adam_layer,
    add_up,
    back,
    copy,
    forward,
    gate,
    polyak_layer,
    weights_gradient,
)
from training.agents.fused.layout import PARTS, Layout, Learned, Network, Own, Rates, Shape, Transitions
from training.agents.fused.products import blocks_of, entry, inner, leading, multiply, pack_rows
from training.agents.fused.tile import ROWS, address_of, call_at, out_of_line

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0
TANH_EPSILON = 1e-6  # stable-baselines3's SquashedDiagGaussianDistribution
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)

# A phase is reached by its address, so that it is compiled once, not again in the parallel loop and its wrappers.
phase = entry(_nrt=False, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)


@entry(parallel=True)
def update(
    phases: np.ndarray,
    where: Layout,
    actor_shape: Shape,
    critic_shape: Shape,
    n: np.ndarray,
    order: np.ndarray,
    actor: Learned,
    critic: Learned,
    target: np.ndarray,
    alpha: Learned,
    batch: Transitions,
    rates: Rates,
    losses: np.ndarray,
) -> None:
    """Update all agents once.

    phases: their addresses, see `addresses`. n: the common array, float32, where.step times the agents that are
    updated at the same time. order: (A, 2, B) int64, room for row numbers. target: flat. losses: (A, 4) float32,
    written: actor, critic, entropy, coefficient.
    """
    agents, together = batch.rewards.shape[0], len(n) // where.step
    for begin in range(0, agents, together):
        end = min(agents, begin + together)
        for p in range(len(phases)):
            for index in prange(PARTS * (end - begin)):
                task = int64(
                    index
                )  # prange counts without sign, and what is reached by address takes what it is given
                call_at(
                    phases[p],
                    where,
                    actor_shape,
                    critic_shape,
                    n,
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
            base = _base(where, n, agent)
            first, second = base + where.sums[0], base + where.sums[1]
            losses[agent, 0] = n[first + 1] + n[second + 1]
            losses[agent, 1] = n[first] + n[second]
            losses[agent, 2] = n[first + 2]
            losses[agent, 3] = n[base + where.alpha]


@inner
def _base(where: Layout, n: np.ndarray, agent: int) -> int:
    """Return where an agent's numbers begin in the common array: agents that are updated in turn use the same place."""
    return agent % (len(n) // where.step) * where.step


def addresses(*arguments: object) -> np.ndarray:
    """Return where the phases lie, compiled for such arguments of `update` between `phases` and `losses`."""
    kinds = (*(numba.typeof(argument) for argument in arguments), int64, int64)
    return np.array([address_of(function, kinds) for function in (_act, _value, _learn, _improve, _follow)])


@phase
def _act(where, actor_shape, critic_shape, n, order, actor, critic, target, alpha, batch, rates, agent, part):
    own, width, actions = Own(where, n, _base(where, n, agent), part), where.observation, where.actions
    step = leading(width + actions)
    inputs = own.base + (where.here if part == 0 else where.following)
    seen = batch.observations if part == 0 else batch.next_observations
    for b in range(where.rows):
        copy(seen[agent, b], n[inputs + b * step :], width)
    forward(own, Network(actor.flat, actor_shape, agent), (inputs, step), where.actor_values[part])
    if part == 1:
        _squash(own, batch.next_noise[agent], inputs + width, step)
        return
    chosen = own.base + where.chosen
    for b in range(where.rows):
        copy(n[inputs + b * step :], n[chosen + b * step :], width)
        copy(batch.actions[agent, b], n[inputs + b * step + width :], actions)
    _squash(own, batch.noise[agent], chosen + width, step)


@inner
def _squash(own: Own, noise: np.ndarray, out: int, step: int) -> None:
    """Sample the actor's actions into a matrix at `out`, rows `step` apart; keep what their gradient needs."""
    out_of_line()
    where, n, base, part = own
    actions, outputs = where.actions, base + where.actor_values[part, -1]
    for b in range(where.rows):
        log_prob = float32(0.0)
        for j in range(actions):
            at = outputs + b * leading(2 * actions) + j
            mean, raw, drawn = n[at], n[at + actions], noise[b, j]
            log_std = min(max(raw, float32(LOG_STD_MIN)), float32(LOG_STD_MAX))
            std_noise = math.exp(log_std) * drawn
            action = math.tanh(mean + std_noise)
            slope = float32(1.0) - action * action
            pair = b * actions + j
            n[out + b * step + j] = action
            n[base + where.std_noise[part] + pair] = std_noise
            n[base + where.slope[part] + pair] = slope
            n[base + where.free[part] + pair] = float32(1.0) if raw == log_std else float32(0.0)
            normal = float32(0.5) * drawn * drawn + log_std + float32(_HALF_LOG_2PI)
            log_prob -= normal + math.log(slope + float32(TANH_EPSILON))
        n[base + where.log_prob[part] + b] = log_prob


@phase
def _value(
    where, actor_shape, critic_shape, n, order, actor, critic, target, alpha, batch, rates, agent, part
):
    own, step = Own(where, n, _base(where, n, agent), part), leading(where.observation + where.actions)
    values, number = where.critic_values[part], PARTS * agent + part
    forward(own, Network(target, critic_shape, number), (own.base + where.following, step), values)
    for b in range(where.rows):
        n[own.base + where.target_value[part] + b] = n[own.base + values[-1] + b * leading(1)]
    forward(own, Network(critic.flat, critic_shape, number), (own.base + where.here, step), values)
    if part == 0:
        _entropy(own, alpha, rates, agent)


@inner
def _entropy(own: Own, alpha: Learned, rates: Rates, agent: int) -> None:
    """Note the entropy coefficient that this update uses, then let it learn."""
    where, n, base, _ = own
    logarithm, sums, loss = alpha.flat[agent], base + where.sums[0], float32(0.0)
    n[base + where.alpha] = math.exp(logarithm)
    if rates.learn_alpha:
        mean = add_up(n[base + where.log_prob[0] :], where.rows) / float32(where.rows)
        surplus = mean + rates.target_entropy
        loss = -logarithm * surplus
        n[sums + 3] = -surplus
        adam(alpha, agent, n[sums + 3 :], 1, rates.alpha_size, rates.alpha_root)
    n[sums + 2] = loss


@phase
def _learn(
    where, actor_shape, critic_shape, n, order, actor, critic, target, alpha, batch, rates, agent, part
):
    own, step = Own(where, n, _base(where, n, agent), part), leading(where.observation + where.actions)
    network = Network(critic.flat, critic_shape, PARTS * agent + part)
    values, base, sizes = where.critic_values[part], own.base, critic_shape.sizes
    gradient, spare = base + where.work[part, 0], base + where.work[part, 1]
    n[base + where.sums[part]] = _critic_gradient(own, batch, rates, agent, gradient)
    for index in range(len(sizes) - 2, -1, -1):
        inputs = (
            (base + where.here, step) if index == 0 else (base + values[index - 1], leading(sizes[index]))
        )
        units = sizes[index + 1]
        weights_gradient(own, gradient, units, inputs, sizes[index], 0, units)
        if index > 0:
            back(own, network, index, gradient, spare, inputs[0], 0, blocks_of(where.rows))
            gradient, spare = spare, gradient
        adam_layer(own, critic, network, index, 0, units, rates.critic_size, rates.critic_root)
        polyak_layer(target, network, index, rates.tau)
    forward(own, network, (base + where.chosen, step), values)


@inner
def _critic_gradient(own: Own, batch: Transitions, rates: Rates, agent: int, gradient: int) -> float:
    """Write the gradient at a critic's outputs to the matrix at `gradient`; return its loss."""
    where, n, base, part = own
    alpha, first, second = n[base + where.alpha], base + where.target_value[0], base + where.target_value[1]
    outputs, loss = base + where.critic_values[part, -1], float32(0.0)
    for b in range(where.rows):
        soft = min(n[first + b], n[second + b]) - alpha * n[base + where.log_prob[1] + b]
        wanted = batch.rewards[agent, b] + (float32(1.0) - batch.dones[agent, b]) * rates.gamma * soft
        error = n[outputs + b * leading(1)] - wanted
        n[gradient + b * leading(1)] = error / float32(where.rows)
        loss += error * error
    return float32(0.5) * loss / float32(where.rows)


@phase
def _improve(
    where, actor_shape, critic_shape, n, order, actor, critic, target, alpha, batch, rates, agent, part
):
    own, blocks = Own(where, n, _base(where, n, agent), part), blocks_of(where.rows)
    half = blocks // 2
    first_block, last_block = (0, half) if part == 0 else (half, blocks)
    first, end = first_block * ROWS, min(where.rows, last_block * ROWS)
    smallest = float32(0.0)
    for which in range(PARTS):
        chosen = order[agent, which]
        count, total = _smaller_rows(own, which, chosen, first, end)
        smallest += total
        if count > first:
            network = Network(critic.flat, critic_shape, PARTS * agent + which)
            _action_gradient(own, network, chosen[first:count], where.critic_values[which])
    n[own.base + where.sums[part] + 1] = _actor_gradient(own, batch, rates, agent, first, end, smallest)
    network = Network(actor.flat, actor_shape, agent)
    for index in range(len(actor_shape.weights) - 1, 0, -1):
        gradient, passed = own.base + where.gradients[index], own.base + where.gradients[index - 1]
        gates = own.base + where.actor_values[0, index - 1]
        back(own, network, index, gradient, passed, gates, first_block, last_block)


@inner
def _smaller_rows(own: Own, which: int, chosen: np.ndarray, first: int, end: int) -> tuple[int, float]:
    """Write the rows of first to end in which critic `which` is the smaller one into `chosen`, from `first` on.

    Returns where they end and the sum of its values there. Between equals, and where a value is not a number, the
    first critic is taken.
    """
    where, n, base, _ = own
    mine, other = base + where.critic_values[which, -1], base + where.critic_values[1 - which, -1]
    count, total = first, float32(0.0)
    for b in range(first, end):
        value, rival = n[mine + b * leading(1)], n[other + b * leading(1)]
        smaller = value < rival if which == 1 else not rival < value
        if smaller:
            chosen[count] = b
            count += 1
            total += value
    return count, total


@inner
def _action_gradient(own: Own, network: Network, chosen: np.ndarray, values: np.ndarray) -> None:
    """Write d loss / d action through one critic, in the chosen rows, to the matrix of the actor's outputs' gradient.

    These rows are put together into a smaller matrix, so that nothing is multiplied by zero.
    """
    out_of_line()
    where, n, base, part = own
    flat, shape, number = network
    count, last = len(chosen), len(shape.weights) - 1
    gradient, spare, gates = (
        base + where.work[part, 0],
        base + where.work[part, 1],
        base + where.work[part, 2],
    )
    units = shape.sizes[last]
    weights, step = flat[shape.weights[last] + number * units :], leading(units)
    for i in range(count):
        opened = n[base + values[last - 1] + chosen[i] * step :]
        gate(weights, opened, n[gradient + i * step :], units, float32(-1.0) / float32(where.rows))
    for index in range(last - 1, 0, -1):
        step = leading(shape.sizes[index])
        for i in range(count):
            copy(n[base + values[index - 1] + chosen[i] * step :], n[gates + i * step :], shape.sizes[index])
        back(own, network, index, gradient, spare, gates, 0, blocks_of(count))
        gradient, spare = spare, gradient
    inputs, units, panels = shape.sizes[0], shape.sizes[1], base + where.panels[part]
    actions, step = where.actions, leading(where.actions)
    place = shape.weights[0] + number * units * inputs + where.observation
    pack_rows(flat, place, inputs, units, actions, n, panels)
    multiply(n, gradient, leading(units), panels, units, actions, spare, step, spare, 0, blocks_of(count))
    for i in range(count):
        target = base + where.gradients[-1] + chosen[i] * leading(2 * actions)
        copy(n[spare + i * step :], n[target:], actions)


@inner
def _actor_gradient(
    own: Own, batch: Transitions, rates: Rates, agent: int, first: int, end: int, smallest: float
) -> float:
    """Turn the gradient at the actions into that at the actor's outputs, in place; return these rows' part of the loss.

    smallest: sum of the smaller critic's values in these rows.
    """
    out_of_line()
    where, n, base, _ = own
    actions, width, alpha = where.actions, where.observation, n[base + where.alpha]
    share = float32(1.0) / float32(where.rows)
    weight, log_prob = alpha * share, float32(0.0)
    for b in range(first, end):
        log_prob += n[base + where.log_prob[0] + b]
        for j in range(actions):
            pair, at = b * actions + j, base + where.gradients[-1] + b * leading(2 * actions) + j
            slope = n[base + where.slope[0] + pair]
            action = n[base + where.chosen + b * leading(width + actions) + width + j]
            # d log_prob / du of the squashing term -log(1 - tanh(u)^2 + epsilon); the Gaussian's own terms cancel.
            squash = float32(2.0) * action * slope / (slope + float32(TANH_EPSILON))
            at_u = weight * squash + n[at] * slope
            at_log_std = at_u * n[base + where.std_noise[0] + pair] - weight
            n[at + actions] = at_log_std * n[base + where.free[0] + pair]
            if rates.guide_weight > float32(0.0):
                # The gradient of weight x mean |tanh(mean) - guide|^2 at the mean.
                driven = math.tanh(n[base + where.actor_values[0, -1] + b * leading(2 * actions) + j])
                off = driven - batch.guides[agent, b, j]
                at_u += float32(2.0) * rates.guide_weight * share * off * (float32(1.0) - driven * driven)
            n[at] = at_u
    return (alpha * log_prob - smallest) * share


@phase
def _follow(
    where, actor_shape, critic_shape, n, order, actor, critic, target, alpha, batch, rates, agent, part
):
    own, network = Own(where, n, _base(where, n, agent), part), Network(actor.flat, actor_shape, agent)
    base, sizes, step = own.base, actor_shape.sizes, leading(where.observation + where.actions)
    for index in range(len(sizes) - 2, -1, -1):
        units = sizes[index + 1]
        half = (blocks_of(units) + 1) // 2 * ROWS
        first, end = (0, min(units, half)) if part == 0 else (half, units)
        if first < end:
            inputs = (
                (base + where.here, step)
                if index == 0
                else (base + where.actor_values[0, index - 1], leading(sizes[index]))
            )
            weights_gradient(own, base + where.gradients[index], units, inputs, sizes[index], first, end)
            adam_layer(own, actor, network, index, first, end, rates.actor_size, rates.actor_root)
