"""The base role seen from outside, after it was applied; run by verify.yml."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testinfra.host import Host


def test_a_login_is_not_greeted_by_scripts(host: Host) -> None:
    """run-parts, which pam_motd calls, finds nothing to run."""
    assert "advertisement" not in host.check_output("run-parts /etc/update-motd.d")


def test_apts_daily_run_does_nothing_even_when_called(host: Host) -> None:
    """The script behind the timers reads the setting and leaves the package lists as they are."""
    host.check_output("rm -f /var/lib/apt/periodic/*")
    host.run("/usr/lib/apt/apt.systemd.daily update")
    assert host.file("/var/lib/apt/periodic").listdir() == []


def test_a_masked_timer_cannot_be_started(host: Host) -> None:
    """Even by hand: another package's script cannot bring it back."""
    assert host.run("systemctl start apt-daily.timer").rc != 0


def test_the_ssm_agent_survives_a_boot(host: Host) -> None:
    """The stand-in of the snap was off before the role, and is wanted by the boot after it."""
    agent = host.service("snap.amazon-ssm-agent.amazon-ssm-agent.service")
    assert agent.is_enabled
    assert agent.is_running


def test_the_journal_is_kept_on_disk_within_bounds(host: Host) -> None:
    """systemd's own reading of the settings, drop-ins included."""
    settings = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    assert "\nStorage=persistent" in settings
    assert "\nSystemMaxUse=200M" in settings


def test_the_locale_is_utf8(host: Host) -> None:
    """A login shell reads and prints any name."""
    assert host.check_output(". /etc/default/locale; export LANG; locale charmap") == "UTF-8"
