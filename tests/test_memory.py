"""A run that does not fit into memory is refused before it starts, with the number that fits."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from training.config import Config, load_config, memory
from training.errors import ConfigurationError

ROOT = Path(__file__).parent.parent
HUGE = ("sac.buffer_size=100000000", "training.total_timesteps=1000000000")
# What a process takes at most while it learns, beside what it had before, in bytes.
MEASURE = """if True:
    import re, sys
    from pathlib import Path
    import psutil
    from training.agents.multi_agent import MultiAgentSAC
    from training.config import load_config
    from training.envs.batch import RaceBatch
    from training.sim import Track

    def learn(*changes):
        config = load_config(None, changes)
        batch = RaceBatch(config.env, [Track.generate(seed=1)], config.num_cars, 0)
        MultiAgentSAC(batch, config, device="cpu").learn(config.training.total_timesteps)

    learn("sac.learning_starts=100", "env.num_envs=16", "training.total_timesteps=400")
    before = psutil.Process().memory_info().rss
    learn(*sys.argv[1:])
    # Of this program alone: getrusage counts what the process was before it began.
    most_kb = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
    print(int(most_kb) * 1024 - before)
"""


def refusal(config: Config, have: float) -> str:
    with pytest.raises(ConfigurationError) as caught:
        memory.check_fits(config, have, "free here")
    return f"{caught.value.message}\n{caught.value.next_step}"


@pytest.mark.parametrize("agents", [1, 4])
def test_a_buffer_that_does_not_fit_is_refused_with_the_number_that_does(agents: int) -> None:
    kind = ("training.training_type=sac_multiagent", f"training.num_agents={agents}") if agents > 1 else ()
    told = refusal(load_config(None, [*HUGE, *kind]), 16e9)
    assert "16.0 GB are free here" in told
    assert "GB for a full replay buffer" in told
    (fits,) = (int(number) for number in re.findall(r"Set sac.buffer_size to (\d+) or less", told))
    for number, is_fine in ((fits, True), (int(fits * 1.1), False)):
        config = load_config(None, [*HUGE, *kind, f"sac.buffer_size={number}"])
        assert (memory.needs(config).total <= 16e9) is is_fine


def test_a_buffer_that_the_run_never_fills_counts_only_where_no_computer_would_grant_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config(None, ["sac.buffer_size=10000000", "training.total_timesteps=100000"])
    memory.check_fits(config, 1e9, "free here")
    monkeypatch.setattr(memory, "addressable_bytes", lambda: 1e9)
    assert "Set sac.buffer_size to" in refusal(config, 1e9)


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        (["sac.gradient_steps=10000", "sac.batch_size=65536", "sac.buffer_size=65536"], "sac.gradient_steps"),
        (["sac.net_arch=[4096, 4096, 4096, 4096]"], "sac.net_arch"),
        (["env.num_envs=65536"], "env.num_envs"),
    ],
)
def test_what_takes_most_is_named(changes: list[str], setting: str) -> None:
    assert f"Lower {setting}" in refusal(load_config(None, changes), 2e8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        (
            "training.total_timesteps=300000",
            "sac.learning_starts=299000",
            "env.num_envs=1000",
            "sac.gradient_steps=1",
        ),
        (
            "training.total_timesteps=6000",
            "sac.learning_starts=5000",
            "env.num_envs=1000",
            "sac.gradient_steps=2000",
        ),
        (
            "training.total_timesteps=2000",
            "sac.learning_starts=1800",
            "sac.net_arch=[2048, 2048]",
            "sac.gradient_steps=1",
        ),
    ],
    ids=["replay", "rounds", "networks"],
)
def test_the_estimate_is_what_a_run_takes(changes: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *changes], cwd=ROOT, capture_output=True, text=True, check=True
    )
    taken = int(done.stdout)
    assert taken > 50e6, "too little to be told from noise"
    assert 0.75 * taken < memory.needs(load_config(None, changes)).total < 1.5 * taken


@pytest.mark.slow
def test_a_limit_of_the_process_counts_and_nothing_is_left_behind(tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))

    words = [word for change in (*HUGE, "env.tracks=[generated-1]") for word in ("--set", change)]
    done = subprocess.run(
        [sys.executable, "-m", "training", "train", *words, "--store", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limited,
    )
    assert done.returncode == ConfigurationError.exit_code, done.stderr
    assert "Set sac.buffer_size to" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_containers_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "CGROUPS", (str(limit),))
    free = memory.available_bytes()
    limit.write_text("max\n")
    assert memory.available_bytes() == pytest.approx(free, rel=0.2)
    limit.write_text(f"{64 << 20}\n")
    assert memory.available_bytes() < 64 << 20
