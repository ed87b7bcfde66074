"""The virtual environment seen from outside; run by verify.yml."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from testinfra.host import Host

PYTHON = "/opt/f1tenth/venv/bin/python"
WARM = (
    f"cd /opt/f1tenth/app && set -a && . /etc/f1tenth/python.env && NUMBA_DEBUG_CACHE=1 {PYTHON} -m training"
)


def test_gymnasium_stays_at_its_pin(host: Host) -> None:
    """f1tenth_gym's own pin would have pulled it back to 0.29."""
    assert host.check_output(f"{PYTHON} -c 'import gymnasium; print(gymnasium.__version__)'") == "1.4.0"


def test_an_unpacked_bundle_hits_the_cache(host: Host) -> None:
    """The same sources unpacked again, with the same times, compile nothing."""
    host.check_output("cd /opt/f1tenth && cp --archive app bundle && rm -r app && mv bundle app")
    said = host.check_output(WARM)
    assert "data loaded from" in said
    assert "data saved to" not in said


def test_another_source_misses_the_cache(host: Host) -> None:
    """So the test above can fail."""
    host.check_output(
        "cp --archive /opt/f1tenth/app /tmp/kept && echo '# another' >>/opt/f1tenth/app/training/kernel.py"
    )
    assert "data loaded from" not in host.check_output(WARM)
    host.check_output("rm -r /opt/f1tenth/app && mv /tmp/kept /opt/f1tenth/app")
    host.check_output(WARM)


def test_the_image_says_what_it_is_made_of(host: Host) -> None:
    """The JSON beside the image names packages, processor and what was left out."""
    facts = json.loads(host.file("/etc/f1tenth-image.json").content_string)
    assert facts["packages"]["numba"] == "0.68.1"
    assert facts["f1tenth_gym"] == "path"
    assert facts["maps"] == "pinned"
    assert facts["numba_cpu"] == "x86-64-v3"


def test_the_race_tracks_are_at_their_commit(host: Host) -> None:
    """The repository has a newer one; f1tenth_gym finds them in the directory that it looks in."""
    seen = host.check_output(f"{PYTHON} -c 'import sysconfig; print(sysconfig.get_path(\"purelib\"))'")
    assert host.file(f"{seen}/maps/Oval/__init__.py").content_string == "COMMIT = 'pinned'\n"


def test_python_is_told_where_the_race_tracks_are(host: Host) -> None:
    """training.sim.track.catalog looks there for a track's name."""
    told = host.check_output('set -a && . /etc/f1tenth/python.env && ls "$F1TENTH_TRACKS_DIR"')
    assert told == "Oval"
