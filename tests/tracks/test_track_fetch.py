"""Tracks are fetched over http, verified, and fetched once; here from a server of our own."""

from __future__ import annotations

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.cloud.launch import settings_checks
from training.errors import DataError
from training.sim import Track, TrackError
from training.sim.track import catalog
from training.sim.track.names import CIRCUITS
from training.track_commands.commands import fetch as fetch_command
from training.track_commands.fetch_circuits import COMMIT, GITHUB, Source, fetch, read_pins


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a directory, keeps the paths asked for, and fails as often as it is told."""

    asked: list[str]
    failures: list[int]

    def __init__(self, *args: object, asked: list[str], failures: list[int], **kwargs: object) -> None:
        self.asked, self.failures = asked, failures
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.failures:
            self.send_error(self.failures.pop(0))
        else:
            super().do_GET()

    def log_message(self, *args: object) -> None:
        """Keep the test's output clean."""


class CommandContext:
    """A little f1tenth_racetracks: two tracks and a licence, on 127.0.0.1."""

    def __init__(self, root: Path) -> None:
        self.files, self.asked, self.failures = root / "site", [], []
        for folder, name, seed in (("Oval", "Oval", 1), ("Long Way", "LongWay", 2)):
            Track.generate(seed, 40.0, name=name).save(self.files / folder)
        (self.files / "LICENSE").write_text("GPL\n")
        self.pins = root / "pins.sha256"
        sums = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(self.files)}\n"
            for path in [*sorted(self.files.rglob("*.*")), self.files / "LICENSE"]
        ]
        self.pins.write_text("".join(sums))
        handler = functools.partial(
            Handler, directory=str(self.files), asked=self.asked, failures=self.failures
        )
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.source = Source(f"http://127.0.0.1:{self.server.server_port}", self.pins, pause_s=0.0)

    def __enter__(self) -> CommandContext:  # noqa: PYI034 - Self is of Python 3.11
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandContext]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with CommandContext(tmp_path) as opened:
        yield opened


def test_every_track_is_fetched_and_loads_by_its_name(
    site: CommandContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(catalog.DIRECTORY_VARIABLE, str(tmp_path / "cache"))
    told = []
    places = fetch(source=site.source, progress=told.append)
    assert places == [tmp_path / "cache" / "LongWay", tmp_path / "cache" / "Oval"]
    assert told == ["LongWay: fetched 4 files", "Oval: fetched 4 files"]
    assert Track.load("Oval") == Track.generate(1, 40.0, name="Oval")
    assert (places[0] / "LICENSE").read_text() == "GPL\n"
    assert "/Long%20Way/LongWay_map.png" in site.asked


def test_tracks_that_lie_as_in_their_repository_go_by_their_names(
    site: CommandContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So they lie on an image, one in a folder of another name."""
    monkeypatch.setenv(catalog.DIRECTORY_VARIABLE, str(site.files))
    assert catalog.fetched_names() == ["LongWay", "Oval"]
    assert Track.load("LongWay") == Track.generate(2, 40.0, name="LongWay")


def test_the_circuits_that_the_launcher_knows_are_the_pinned_ones() -> None:
    assert sorted(read_pins(GITHUB.pins)) == sorted(CIRCUITS)


def test_an_image_says_where_its_circuits_are() -> None:
    """They are of the commit that is pinned here, and a run there names them as one here does."""
    ansible = Path(__file__).parents[2] / "ansible"
    environment = (ansible / "roles/python_env/templates/etc/f1tenth/python.env.j2").read_text(
        encoding="utf-8"
    )
    assert f"{catalog.DIRECTORY_VARIABLE}={settings_checks.MAPS.rstrip('/')}\n" in environment
    assert f"python_env_maps_version: {COMMIT}\n" in (ansible / "group_vars/all.yml").read_text(
        encoding="utf-8"
    )


def test_what_is_there_is_not_fetched_again_and_what_is_damaged_is(
    site: CommandContext, tmp_path: Path
) -> None:
    (place,) = fetch(["Oval"], tmp_path / "cache", source=site.source)
    site.asked.clear()
    told = []
    fetch(["Oval"], tmp_path / "cache", source=site.source, progress=told.append)
    assert (site.asked, told) == ([], ["Oval: already there"])
    (place / "Oval_map.png").write_bytes(b"half")
    fetch(["Oval"], tmp_path / "cache", source=site.source)
    assert site.asked == ["/Oval/Oval_map.png"]
    assert Track.load(place) == Track.generate(1, 40.0, name="Oval")


def test_a_file_that_is_not_the_pinned_one_is_refused_and_not_kept(
    site: CommandContext, tmp_path: Path
) -> None:
    (site.files / "Oval" / "Oval_map.png").write_bytes(b"something else")
    with pytest.raises(
        TrackError, match=r"Oval_map.png is not the pinned file: its SHA-256 is [0-9a-f]{64}, not"
    ):
        fetch(["Oval"], tmp_path / "cache", source=site.source)
    assert not list((tmp_path / "cache").rglob("*.png*"))


def test_a_server_that_is_busy_is_asked_again(site: CommandContext, tmp_path: Path) -> None:
    site.failures += [503, 500]
    fetch(["Oval"], tmp_path / "cache", source=site.source)
    assert len(site.asked) == 4 + 2


def test_a_server_that_stays_busy_is_given_up_after_three_attempts(
    site: CommandContext, tmp_path: Path
) -> None:
    site.failures += [503] * 9
    with pytest.raises(TrackError, match=r"cannot fetch http.*_centerline.csv: the server answered 503"):
        fetch(["Oval"], tmp_path / "cache", source=site.source)
    assert len(site.asked) == 3


def test_a_file_that_is_gone_is_not_asked_for_twice(site: CommandContext, tmp_path: Path) -> None:
    (site.files / "LICENSE").unlink()
    with pytest.raises(TrackError, match=r"/LICENSE: the server answered 404"):
        fetch(["Oval"], tmp_path / "cache", source=site.source)
    assert site.asked.count("/LICENSE") == 1


def test_an_answer_far_too_long_is_refused(site: CommandContext, tmp_path: Path) -> None:
    with (site.files / "LICENSE").open("wb") as licence:
        licence.truncate(2**23 + 1)
    with pytest.raises(TrackError, match="/LICENSE: more than 8388608 bytes"):
        fetch(["Oval"], tmp_path / "cache", source=site.source)


def test_without_a_network_the_error_names_the_tracks_that_need_none(tmp_path: Path) -> None:
    with CommandContext(tmp_path) as closed:
        source = closed.source
    with pytest.raises(
        TrackError, match=r"refused. The bundled tracks \(kart, .*\) and generated-SEED need no"
    ):
        fetch(["Oval"], tmp_path / "cache", source=source)


def test_an_address_that_is_not_http_is_refused(site: CommandContext, tmp_path: Path) -> None:
    source = site.source._replace(address=site.files.as_uri())
    with pytest.raises(TrackError, match="fetched by http or https"):
        fetch(["Oval"], tmp_path / "cache", source=source)


def test_an_unknown_track_is_refused_before_anything_is_fetched(site: CommandContext, tmp_path: Path) -> None:
    with pytest.raises(
        TrackError, match="Nordschleife: not among the tracks to fetch, which are LongWay, Oval"
    ):
        fetch(["Oval", "Nordschleife"], tmp_path / "cache", source=site.source)
    assert site.asked == []


def test_the_command_refuses_a_server_whose_files_are_others(site: CommandContext, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"cannot fetch .*/Monza/Monza_centerline.csv: the server answered 404"
    ):
        fetch_command(["Monza"], directory=tmp_path / "cache", address=site.source.address)


# TUM's optimiser drew no line there.
WITHOUT_RACELINE = ("Montreal", "Shanghai")


def test_twenty_three_tracks_of_one_commit_are_pinned() -> None:
    pins = read_pins(GITHUB.pins)
    assert len(pins) == 23
    assert COMMIT in GITHUB.address
    for name, files in pins.items():
        kept = [pin.path.rpartition("/")[2] for pin in files]
        line = [] if name in WITHOUT_RACELINE else [f"{name}_raceline.csv"]
        assert kept == [f"{name}_centerline.csv", f"{name}_map.png", f"{name}_map.yaml", *line, "LICENSE"]
        assert all(len(bytes.fromhex(pin.sha256)) == 32 for pin in files)
