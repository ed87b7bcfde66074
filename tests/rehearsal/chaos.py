"""Chaos: one run after the other in one small cloud, each broken in another way; a table of what survived."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.rehearsal import chaos_cases, evidence
from tests.rehearsal.baked import Baked
from tests.rehearsal.chaos_cases import Case, Play
from tests.rehearsal.report import Teller
from tests.rehearsal.small_cloud import Launcher, SmallCloud, leftovers, small_cloud
from tests.rehearsal.waiting import Waiting

SETTINGS: dict[str, Any] = {
    "training": {
        "preset": "cloud",
        "total_timesteps": 16_000,
        "save_frequency": chaos_cases.SAVE_EVERY,
        "seed": 1,
        "report": False,
    },
    "env": {"tracks": ["generated-1"]},
    "sac": {"net_arch": [64, 64], "learning_starts": 1_000},
    "evaluation": {"frequency": 0},
    "wandb": {"mode": "disabled"},
}


class Outcome(NamedTuple):
    """What became of one case."""

    name: str
    survived: bool
    boots: int
    lost: str
    leaks: int
    said: str


def play(root: Baked, folder: Path, tell: Teller, names: Sequence[str]) -> int:
    """Play the named cases, or all of them; return 0 if every one ended as it must."""
    if unknown := set(names) - chaos_cases.CASES.keys():
        tell.say(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(chaos_cases.CASES)}")
        return 1
    outcomes = []
    try:
        with small_cloud(root.image, folder, tell.hear) as cloud:
            cloud.configure(SETTINGS)
            cloud.account.bake()
            launcher = Launcher(cloud, tell.hear)
            launcher("up", "--yes")
            for name in names or chaos_cases.CASES:
                outcomes.append(_case(cloud, launcher, tell, name))  # noqa: PERF401 - those that ended are told
    except KeyboardInterrupt:
        tell.say("stopped; everything is taken down")
    finally:
        _table(tell, outcomes)
        left = leftovers()
        if left:
            tell.say(f"had to be removed at the end: {', '.join(left)}")
    wanted = len(names or chaos_cases.CASES)
    return 0 if len(outcomes) == wanted and all(one.survived and not one.leaks for one in outcomes) else 1


def _case(cloud: SmallCloud, launcher: Launcher, tell: Teller, name: str) -> Outcome:
    case: Case = chaos_cases.CASES[name]
    play = Play(cloud, launcher, Waiting(cloud.ec2), name, len(cloud.ec2.machines))
    survived, said = False, ""
    with contextlib.suppress(AssertionError), tell.phase(name) as details:
        try:
            case(play)
            survived = True
        except Exception as error:
            said = str(error).strip().splitlines()[0][:80] if str(error) else type(error).__name__
            tell.say(traceback.format_exc())
            for line in evidence.gather(cloud):
                tell.say(line)
            raise AssertionError(said) from error
        finally:
            boots, lost = len(play.machines), play.lost
            leaks = _settle(play)
            details.append(f"{boots} boots, lost steps {lost}, leaks {leaks}")
    return Outcome(name, survived, boots, lost, leaks, said)


def _settle(play: Play) -> int:
    """Return what the case left that costs money; end it, so that the next case begins with nothing.

    A launch that nobody followed leaves its role and template, which are free: `gc --delete` must end them.
    """
    cloud = play.cloud
    cloud.s3.spoil, cloud.ec2.on_boot = _no_spoil, _no_hook
    leaks = len(play.living)
    leaks += sum(state == "active" for state in cloud.ec2.fleet_states().values())
    found = play.launcher("gc", "--delete", "--yes", quiet=True, expect=None)
    leaks += found.count("(costs money)")
    if "0 found" not in play.launcher("gc", quiet=True, expect=None):
        leaks += 1
    if leaks:
        for fleet, state in cloud.ec2.fleet_states().items():
            if state == "active":
                cloud.ec2.expire(fleet)
        for machine in play.living:
            cloud.ec2.take_away(machine)
        play.wait.until("the case's machines are off", lambda: not play.living, 60)
    return leaks


def _no_spoil(*_: object) -> int:
    return 0


def _no_hook(*_: object) -> None:
    return None


def _table(tell: Teller, outcomes: Sequence[Outcome]) -> None:
    rows = [
        [one.name, "yes" if one.survived else f"NO: {one.said}", str(one.boots), one.lost, str(one.leaks)]
        for one in outcomes
    ]
    tell.table("Chaos", ["case", "ended as it must", "boots", "lost steps", "leaks"], rows)
    survived = sum(one.survived for one in outcomes)
    tell.say(f"tried {len(outcomes)}, survived {survived}, leaked {sum(one.leaks for one in outcomes)}")
