"""The kill chain at work: real units, a real systemd, a stand-in trainer; run by verify.yml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from machine import (
    FINISH,
    TRAINING,
    boot,
    last_words,
    replace_command,
    shorten_dead_man,
    show,
    start,
    start_container,
    starts,
    systemd_version,
    wait_for_power_off,
    wait_until,
)

if TYPE_CHECKING:
    from testinfra.host import Host


@pytest.fixture(autouse=True)
def _booted(host: Host) -> None:
    """Every case begins on a machine that has just booted and has no run."""
    boot(host)


@pytest.fixture
def _on_success(host: Host) -> None:
    """The case ends in a success, which leads on by OnSuccess=; Debian 11's systemd 247 does not know it yet."""
    if systemd_version(host) < 249:
        pytest.skip("OnSuccess= came with systemd 249")


def test_arguments_of_the_run_reach_the_trainer(host: Host) -> None:
    """The unit hands on config, store and further arguments of run.env, and is ready on READY=1."""
    start(host, "run", "F1TENTH_TRAIN_ARGS=--resume r1 --set training.seed=2")
    assert host.service(TRAINING).is_running
    assert starts(host) == [
        "train --config /opt/f1tenth/app/config.yaml --store s3://b --resume r1 --set training.seed=2"
    ]


@pytest.mark.usefixtures("_on_success")
def test_done_finishes_and_powers_off(host: Host) -> None:
    """Exit 0: the finish unit runs, then the machine is off."""
    start(host, "exit:0")
    wait_for_power_off(host)
    assert "finish saw end" in last_words(host)


@pytest.mark.parametrize("finish", ["crash", "hang"])
def test_a_broken_finish_cannot_keep_the_machine(host: Host, finish: str) -> None:
    """A finish program that fails, or hangs past its limit, ends in the power-off all the same."""
    start(host, "exit:78", f"STANDIN_FINISH={finish}")
    wait_for_power_off(host)


def test_a_crash_restarts_within_its_limit_then_finishes(host: Host) -> None:
    """Three starts (one and two restarts), then the finish unit and the power-off."""
    start(host, "exit:1")
    wait_for_power_off(host)
    assert "finish saw crash" in last_words(host)
    assert len(starts(host)) == 3


@pytest.mark.parametrize("status", [3, 64, 65, 78])
def test_a_permanent_failure_is_not_restarted(host: Host, status: int) -> None:
    """Fenced out, usage, data, configuration: one start, then the finish unit."""
    start(host, f"exit:{status}")
    wait_for_power_off(host)
    assert "finish saw end" in last_words(host)
    assert len(starts(host)) == 1


@pytest.mark.usefixtures("_on_success")
def test_a_spot_notice_saves_and_stays_up(host: Host) -> None:
    """Exit 75 after a notice: not restarted, and the machine is left for AWS to end."""
    start(host, "exit:75", "STANDIN_REASON=spot")
    wait_until(lambda: host.file("/run/f1tenth/stay-up").exists, "the finish program to decide")
    wait_until(lambda: show(host, FINISH, "ActiveState") == "inactive", "the finish unit to end")
    assert show(host, "f1tenth-poweroff.service", "ConditionResult") == "no"
    assert show(host, TRAINING, "ActiveState") == "inactive"
    assert len(starts(host)) == 1


def test_sigterm_is_waited_for(host: Host) -> None:
    """A stop returns only after the trainer has saved: two seconds, an outcome, no kill."""
    start(host, "run")
    host.check_output(f"systemctl stop {TRAINING}")
    assert show(host, TRAINING, "ExecMainStatus") == "75"
    assert show(host, TRAINING, "Result") == "success"
    assert "sigterm" in host.file("/run/f1tenth/outcome.json").content_string


def test_a_restart_by_hand_is_no_end(host: Host) -> None:
    """The stop half of a restart reaches the trainer, finishes nothing, and the trainer runs again."""
    start(host, "run")
    host.check_output(f"systemctl restart {TRAINING}")
    assert host.service(TRAINING).is_running
    assert len(starts(host)) == 2
    assert show(host, "f1tenth-poweroff.service", "ActiveState") == "inactive"
    assert "finish saw" not in last_words(host)


def test_silence_is_a_crash(host: Host) -> None:
    """A trainer that stops feeding the watchdog is killed and started again."""
    start(host, "silent")
    wait_until(lambda: len(starts(host)) >= 2, "the watchdog")
    assert "watchdog" in host.check_output(f"journalctl -b -u {TRAINING}").lower()


def test_the_dead_man_fires(host: Host) -> None:
    """The timer alone takes the machine down, with a trainer running."""
    start(host, "run")
    shorten_dead_man(host)
    wait_for_power_off(host)


def test_a_full_disk_stops_neither_finish_nor_power_off(host: Host) -> None:
    """The finish unit sees every disk read-only, and still decides and ends the machine."""
    start(host, "exit:78")
    wait_for_power_off(host)
    assert "finish may write ['/run/f1tenth']" in last_words(host)


def test_a_failed_cloud_init_powers_off(host: Host) -> None:
    """User data that fails takes the machine down instead of leaving it idle."""
    # The stages before it come with it, and would look for a cloud for minutes.
    stages = {f"cloud-{stage}.service": "/usr/bin/true" for stage in ("init-local", "init", "config")}
    for unit, command in (stages | {"cloud-final.service": "/usr/bin/false"}).items():
        replace_command(host, unit, command)
    host.run("systemctl restart cloud-final.service")
    wait_for_power_off(host)
    start_container(host)
    host.check_output("rm /etc/systemd/system/cloud-*.service.d/99-test.conf")


def test_tensorboard_listens_on_loopback_only(host: Host) -> None:
    """TensorBoard comes with the training and is reached through a forwarded port only."""
    start(host, "run")
    wait_until(lambda: host.socket("tcp://127.0.0.1:6006").is_listening, "TensorBoard")
    assert not host.socket("tcp://0.0.0.0:6006").is_listening


def test_the_exposure_is_low_offline(host: Host) -> None:
    """The gate as it runs without the unit loaded: exit status 0 up to 2.0."""
    if systemd_version(host) < 250:
        pytest.skip("--offline came with systemd 250")
    host.check_output(
        f"systemd-analyze security --no-pager --offline=true --threshold=20 /etc/systemd/system/{TRAINING}"
    )
