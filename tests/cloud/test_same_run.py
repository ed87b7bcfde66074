"""`make train CLOUD=aws` trains what `make train` trains; the plan says how long that takes and what it costs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cloud.fake_aws import ROOT, Account, boot
from training import layout
from training.cloud.launch import basis
from training.cloud.launch.expected_time import ExpectedTime, ProgressSoFar, expected_time, progress_of
from training.cloud.watch import run_status
from training.config import AwsSettings, Config, load_config, settings_file
from training.config.speed import MEASURED_CORES, estimate, timestep_s
from training.store.checkpoint import CheckpointData, claim
from training.store.directory import DirectoryStorage
from training.store.manifest import Owner


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("", []),
        ("training: {seed: 3}\n", ["--set", "training.training_type=sac_multiagent"]),
        ("training: {preset: cloud}\n", []),
        ("", ["--set", "training.preset=cloud", "--set", "sac.gamma=0.9"]),
    ],
)
def test_a_launch_stores_the_settings_that_the_trainer_here_would_use(
    account: Account, file: str, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the command line is the same; of the settings only the group aws is the account's."""
    path = account.write_config()
    path.write_text(path.read_text(encoding="utf-8") + file, encoding="utf-8")
    assert account.launch_here("up", "--yes").returncode == 0
    account.bake()
    done = account.launch_here("train", "--name", "race", "--yes", "--detach", *words)
    assert done.returncode == 0, done.stderr
    stored = json.loads(account.storage.get(layout.config_key("race"), max_bytes=1 << 20).data)
    monkeypatch.chdir(account.folder)
    here = load_config(settings_file(None), words[1::2])
    assert stored == here.to_json_dict()
    default = load_config(None)
    if not words and not file:
        assert (stored["training"], stored["sac"]) == (
            default.to_json_dict()["training"], default.to_json_dict()["sac"],
        )  # fmt: skip


def test_make_hands_the_same_words_to_both(tmp_path: Path) -> None:
    """The rule of the Makefile: one command line, two programs."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (rule,) = re.findall(r"^train:.*\n(\t@.*\n\t\t.*\n)", text, re.MULTILINE)
    assert "launch.py train --up,-m training train)" in rule
    assert rule.count("$(if $(CLOUD)") == 1, "nothing else depends on where it trains"


# --- how long, how much ---
def expected_of(
    config: Config, done: ProgressSoFar | None = None, cores: int = MEASURED_CORES
) -> ExpectedTime:
    return expected_time(config.training, estimate(config, cores), done)


def test_the_default_run_takes_minutes_and_its_limits_fit_it() -> None:
    time = expected_of(load_config(None))
    assert (time.by_limit, time.training_s) == (True, pytest.approx(180, rel=0.1))
    assert 5 / 60 < time.total_h < 8 / 60
    assert "3 min of training (training.max_minutes)" in time.describe()


@pytest.mark.parametrize("preset", ["local", "cloud"])
def test_the_default_limits_leave_a_preset_three_times_what_it_needs(preset: str) -> None:
    config = load_config(None, [f"training.preset={preset}"])
    dearest = 1.006  # g5.xlarge on demand in us-east-2
    hours = basis.allowed_hours(config.aws.max_hours, config.aws.max_cost_usd, dearest)
    assert hours >= 3 * expected_of(config).total_h
    assert hours >= 1, "and time to wait for capacity"


def test_a_longer_run_is_estimated_by_its_networks_and_steps() -> None:
    small, wide = load_config(None), load_config(None, ["training.preset=cloud"])
    assert timestep_s(wide) > 1.3 * timestep_s(small)
    time = expected_of(wide)
    assert not time.by_limit
    assert time.training_s == pytest.approx(1_000_000 * timestep_s(wide))
    assert "(an estimate)" in time.describe()


def test_the_estimate_of_an_update_is_what_was_measured() -> None:
    """docs/notes/performance.md, two threads, Zen 3: 186 updates/s of [256, 256] at 256, 750 of [100, 100] at 128."""
    text = (ROOT / "docs" / "notes" / "performance.md").read_text(encoding="utf-8")
    assert "| [100, 100], two threads | 2,987 | 375: 8.0 × | 1,593: 1.87 × | | 485: 7.3 ×, 1.57 × |" in text
    every_step = ["env.num_envs=1", "sac.gradient_steps=1"]
    for sizes, batch, per_s in (("[256,256]", 256, 186), ("[100,100]", 128, 750)):
        config = load_config(None, [*every_step, f"sac.net_arch={sizes}", f"sac.batch_size={batch}"])
        assert 1 / (timestep_s(config) - 0.25e-3) == pytest.approx(per_s, rel=0.15)


def test_a_run_that_goes_on_is_judged_by_its_own_speed_and_what_is_left(tmp_path: Path) -> None:
    store = DirectoryStorage(tmp_path)
    lineage = claim(store, "race", "sac", 1, owner=Owner())
    lineage.commit(100_000, CheckpointData({"learner": b"x"}, (), {"elapsed_s": 60.0}))
    assert progress_of(store, "race") == ProgressSoFar(100_000, 60.0)
    assert progress_of(store, "race", at_step=50_000) == ProgressSoFar(50_000, 30.0)
    assert progress_of(store, "nobody") == ProgressSoFar()
    limited = expected_of(load_config(None), progress_of(store, "race"))
    assert (limited.training_s, limited.by_limit) == (120.0, True)
    free = load_config(None, ["training.max_minutes=null"])
    assert expected_of(free, progress_of(store, "race")).training_s == pytest.approx(500_000 * 0.0006)


def test_status_knows_that_a_run_ends_by_its_minutes(tmp_path: Path) -> None:
    store = DirectoryStorage(tmp_path)
    for config, limits in (
        (load_config(None), (600_000, 3.0)),
        (load_config(None, ["training.preset=cloud"]), (1_000_000, None)),
    ):
        store.put(layout.config_key("race"), json.dumps(config.to_json_dict()).encode())
        assert run_status.limits_of(store, "race") == limits
    assert run_status.limits_of(store, "nobody") == (None, None)


@pytest.mark.slow
def test_the_plan_says_time_and_price_and_warns_where_the_cap_comes_first(account: Account) -> None:
    assert account.launch_here("up", "--yes").returncode == 0
    account.bake()
    words = ("train", "--name", "race", "--dry-run")
    plan = json.loads(account.launch_here(*words).stdout)["plan"]
    (takes,) = [line for line in plan if line.startswith("takes ")]
    (costs,) = [line for line in plan if line.startswith("costs ")]
    assert "about 7 min: 3 min to boot, 3 min of training (training.max_minutes)" in takes
    price = float(re.findall(r"price +about \$([0-9.]+)/h", "\n".join(plan))[0])
    assert costs == f"costs      about ${price * 5.5 / 60:.2f} at that time and price"
    assert not [line for line in plan if line.startswith("too short")]
    (million,) = [line for line in plan if "per million timesteps" in line]
    assert float(re.findall(r"\$(\S+) per million", million)[0]) > 0
    assert million.endswith("(an estimate, by two cores of an AMD EPYC (Zen 3), 2026-11-26)")
    long = (*words, "--set", "training.preset=cloud", "--set", "training.total_timesteps=100000000")
    plan = json.loads(account.launch_here(*long).stdout)["plan"]
    (short,) = [line for line in plan if line.startswith("too short")]
    assert "and ends after 2.0 h with its last checkpoint: raise aws.max_hours and aws.max_cost_usd" in short


def test_a_core_less_is_twice_as_slow_and_more_than_were_measured_do_not_count() -> None:
    config = load_config(None)
    assert timestep_s(config, 1) == 2 * timestep_s(config, 2) == 2 * timestep_s(config, 64)
    speed = expected_of(config, cores=1).speed
    assert speed.timestep_s == timestep_s(config, 1)
    assert speed.describe_price(0.36).startswith(
        f"${100 * speed.timestep_s:.2g} per million timesteps (an estimate"
    )
    own = expected_of(config, ProgressSoFar(100_000, 60.0)).speed
    assert own.describe_price(0.36) == "$0.06 per million timesteps (this run's own speed)"


def test_prices_say_what_a_million_timesteps_cost_by_estimate_and_by_a_run_of_ones_own(
    account: Account,
) -> None:
    assert account.launch_here("up", "--yes").returncode == 0
    account.write_config(instance_types=["g4dn.xlarge", "c7a.large"])
    estimated = {row["type"]: row for row in json.loads(account.launch_here("prices", "--json").stdout)}
    step_s = timestep_s(load_config(None))
    for row in estimated.values():
        assert row["usd_per_million_timesteps"] == pytest.approx(1e6 * step_s * row["spot"] / 3600, abs=1e-4)
        assert row["speed"].startswith("an estimate")

    for run, wide in (("mine", False), ("wide", True)):
        config = load_config(None, ["sac.net_arch=[512, 512]"] if wide else [])
        account.storage.put(layout.config_key(run), json.dumps(config.to_json_dict()).encode())
        boot(account, run, steps=100_000)
        lineage = claim(account.storage, run, "sac", 1, owner=Owner())
        lineage.commit(100_000, CheckpointData({"learner": b"x"}, (), {"elapsed_s": 250.0}))
    told = json.loads(account.launch_here("prices", "--json").stdout)
    for row in told:
        if (
            row["type"] == "g4dn.xlarge"
        ):  # that `boot` is of; the other run's networks are not those of the settings
            assert row["speed"] == "run mine"
            usd = 1e6 * 0.0025 * row["spot"] / 3600
            assert row["usd_per_million_timesteps"] == pytest.approx(usd, abs=1e-4)
        else:
            assert row == estimated[row["type"]] | {"zone": row["zone"], "spot": row["spot"]} | {
                name: row[name] for name in ("saved", "source", "usd_per_million_timesteps")
            }
    shown = account.launch_here("prices").stdout
    assert "$/M timesteps on spot, while it trains: g4dn.xlarge by run mine" in shown
    assert "c7a.large by two cores of an AMD EPYC (Zen 3), 2026-11-26" in shown


def test_readme_and_settings_agree_with_the_presets() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    told = re.search(
        r"`--set training\.preset=cloud` is a longer run: ([0-9,]+) timesteps, networks of (\d+) units",
        readme,
    )
    assert told
    long = Config.model_validate({})
    assert told.groups() == (f"{long.training.total_timesteps:,}", str(long.sac.net_arch[0]))
    assert f"at most ${AwsSettings().max_cost_usd:.0f}" in readme
    assert (AwsSettings().max_hours, AwsSettings().max_cost_usd) == (2.0, 2.0)
