"""The report's page: whole, by itself, and with the numbers that `evaluate` gives."""

from __future__ import annotations

import base64
import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.report.runs import KEPT_STEP, QUICK, make_run, put_curves, save_policy, straight_on
from training import layout
from training.__main__ import main
from training.config import Config, load_config
from training.evaluation.baselines import REFERENCE
from training.evaluation.load_run import policy_of
from training.report.page import write_report
from training.report.run_info import LEFT_OUT, repeating_commands
from training.sim import Track
from training.store.checkpoint import claim
from training.store.open import open_store

UNSEEN, TRAINING, OWN = "generated-3-l60", "generated-1-l60", "own-oval"
STARTS = 2


def page_of(text: str) -> ET.Element:
    """Parse the page as XML: every tag is closed, every sign escaped."""
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>\n"))  # noqa: S314 - our own page


def words(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


class Written:
    """A report that was written by the command, and the run it is of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.own_map = Track.generate(2, 60.0, name=OWN).save(folder / "my <map> & more")
        storage = open_store(str(folder))
        tracks = json.dumps([TRAINING, str(self.own_map)])
        self.config = make_run(
            storage, "shown", f"env.tracks={tracks}", f"evaluation.starts={STARTS}", "sac.gamma=0.97"
        )
        put_curves(storage, "shown", folder / "curves")
        assert main(["report", "--store", str(folder)]) == 0
        self.page = folder / layout.report_prefix("shown") / "index.html"
        self.text = self.page.read_text(encoding="utf-8")
        self.root = page_of(self.text)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(tmp_path_factory.mktemp("report"))


pytestmark = pytest.mark.slow


def test_every_element_of_the_page_is_where_html_allows_it(written: Written) -> None:
    assert written.root.tag == "html"
    assert [child.tag for child in written.root] == ["head", "body"]
    assert written.root.find("head/title").text.startswith("shown")
    assert [h.text for h in written.root.iter("h1")] == ["shown"]
    for table in written.root.iter("table"):
        width = {sum(int(cell.get("colspan", 1)) for cell in row) for row in table.iter("tr")}
        assert len(width) == 1, words(table)[:80]


def test_the_page_fetches_nothing(written: Written) -> None:
    for element in written.root.iter():
        assert element.tag not in {"script", "link", "iframe", "object", "base"}
        for name, value in element.items():
            if name in {"src", "srcset", "poster", "data", "action"}:
                assert value.startswith("data:")
            if name == "href":
                assert value.startswith("#")
    without_data = re.sub(r"data:[a-z0-9/]+;base64,[A-Za-z0-9+/=]+", "", written.text)
    assert "://" not in without_data
    assert not re.findall(r"url\((?!#)", without_data)
    (policy,) = [m for m in written.root.iter("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.get("content").startswith("default-src 'none'")


def test_the_numbers_of_the_table_are_those_of_evaluate(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "shown", "--store", str(written.folder), "--laps", str(STARTS), "--json"]
    assert main(arguments) == 0
    evaluated = {one["track"]: one for one in json.loads(capsys.readouterr().out)["tracks"]}
    cells = {
        cell.get("data-track"): words(cell)
        for cell in written.root.iter("td")
        if cell.get("data-driver") == "policy"
    }
    assert set(cells) == set(evaluated) == {TRAINING, UNSEEN, OWN}
    for track, one in evaluated.items():
        assert cells[track] == (
            f"{one['mean_lap_s']:.2f}best {one['best_lap_s']:.2f}, {one['completed']} of {one['starts']}"
        )


def test_one_track_evaluated_alone_gives_the_same_numbers(
    written: Written, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "shown", "--store", str(written.folder), "--laps", str(STARTS), "--json"]
    assert main([*command, "--track", UNSEEN]) == 0
    (one,) = json.loads(capsys.readouterr().out)["tracks"]
    assert f"<b>{one['mean_lap_s']:.2f}</b><small><span>best {one['best_lap_s']:.2f}" in written.text


def test_unseen_tracks_come_first_and_every_driver_has_its_column(written: Written) -> None:
    table = next(table for table in written.root.iter("table") if table.get("id") == "laps")
    first = [words(row[0]) for row in table.iter("tr")]
    # Below a track's name: the flying lap of a point mass.
    assert [name.partition("point mass")[0] for name in first] == [
        "Track", "tracks that training never saw", UNSEEN, "training tracks", TRAINING, OWN,
    ]  # fmt: skip
    assert all("point mass" in name for name in first if name.startswith((UNSEEN, TRAINING)))
    assert [words(head) for head in table.find("thead/tr")] == [
        "Track",
        "policy",
        "racing line",
        "pure pursuit",
        "follow-the-gap",
    ]


def test_the_film_of_an_unseen_lap_is_in_the_page_and_beside_it(written: Written) -> None:
    video = next(written.root.iter("video"))
    kind, _, data = video.get("src").partition(";base64,")
    assert kind == "data:video/mp4"
    assert base64.b64decode(data) == (written.page.parent / "lap.mp4").read_bytes()
    assert f"The best lap on {UNSEEN}" in written.text


def test_each_track_and_curve_has_its_picture(written: Written) -> None:
    titles = [
        words(figure.find("h3")) for figure in written.root.iter("figure") if figure.find("svg") is not None
    ]
    assert titles[:3] == [f"{UNSEEN} unseen, 60 m", f"{TRAINING} training, 60 m", f"{OWN} training, 60 m"]
    assert "Reward of an episode" in titles
    assert len(titles) == 15
    for svg in written.root.iter("svg"):
        assert svg.get("role") == "img"
        assert svg.get("aria-label")


def test_each_track_has_its_grip_and_its_sectors(written: Written) -> None:
    (grip,) = [table for table in written.root.iter("table") if table.get("id") == "grip"]
    assert [row.get("data-track") for row in grip.iterfind("tbody/tr")] == [UNSEEN, TRAINING, OWN]
    sectors = [
        figure for figure in written.root.iter("figure") if "sectors" in (figure.get("class") or "").split()
    ]
    assert [words(figure.find("h3")) for figure in sectors] == [
        f"{UNSEEN} unseen",
        f"{TRAINING} training",
        f"{OWN} training",
    ]
    for figure in sectors:
        assert len(list(figure.iter("svg"))) == 2
        lap, *others = list(figure.iterfind(".//tbody/tr"))
        times = [float(words(cell)) for cell in lap.findall("td")[1:]]
        assert sum(times[:-1]) == pytest.approx(times[-1], abs=0.051)
        assert [words(row[0]) for row in others] == [REFERENCE, "difference"]


def test_the_kept_policy_is_driven_under_the_presets_of_randomisation(written: Written) -> None:
    (table,) = [one for one in written.root.iter("table") if one.get("id") == "robustness"]
    assert [words(cell) for cell in table.find("thead/tr")] == ["Track", "undisturbed", "mild", "robust"]
    rows = [[words(cell) for cell in row] for row in table.iterfind("tbody/tr")]
    assert [row[0] for row in rows] == [
        f"{UNSEEN} unseen",
        f"{TRAINING} training",
        f"{OWN} training",
        "all tracks",
    ]
    (laps,) = [one for one in written.root.iter("table") if one.get("id") == "laps"]
    own = {
        cell.get("data-track"): words(cell) for cell in laps.iter("td") if cell.get("data-driver") == "policy"
    }
    for name, row in zip((UNSEEN, TRAINING, OWN), rows, strict=False):
        mean, _, completed = own[name].partition("best ")
        assert row[1] == f"{completed.split(', ')[1]}{mean}"


def test_changed_settings_come_first_and_none_of_the_owner_s_account(written: Written) -> None:
    first, second = [
        table
        for table in written.root.iter("table")
        if table.find(".//td/code") is not None and table.get("id") != "drawn"
    ]
    keys = [code.text for code in first.iterfind(".//tr/td[1]/code")]
    assert "sac.gamma" in keys
    assert "env.tracks" in keys
    others = [code.text for code in second.iterfind(".//tr/td[1]/code")]
    assert "sac.tau" in others
    assert not [key for key in keys + others if key.split(".")[0] in LEFT_OUT]


def test_the_command_to_repeat_the_run_has_its_settings(written: Written) -> None:
    (shown,) = [pre.text for pre in written.root.iter("pre") if pre.get("id") == "reproduce"]
    train, evaluate, report = shown.replace("\\\n", " ").splitlines()
    parts = shlex.split(train)
    assert parts[:6] == [".venv/bin/python", "-m", "training", "train", "--preset", "local"]
    again = load_config(None, [part for part in parts[6:] if part != "--set"], "local")
    assert again == written.config
    assert evaluate.endswith("-m training evaluate shown")
    assert report.endswith("-m training report shown")


@pytest.mark.parametrize(
    "guide",
    [
        (),
        ("imitation.expert=racing_line",),
        ("imitation.coef=50",),
        ("imitation.expert=none", "imitation.coef=50"),
    ],
)
def test_a_run_that_began_with_networks_of_another_is_repeated_with_its_guide(guide: tuple[str, ...]) -> None:
    """Its default is none there, and a run of before had one."""
    config = load_config(None, [*QUICK, "training.init_from=first", *guide], "local")
    loaded: Any = SimpleNamespace(config=config, run="second")
    parts = shlex.split(repeating_commands(loaded).replace("\\\n", " ").splitlines()[0])
    assert load_config(None, [part for part in parts[6:] if part != "--set"], "local") == config


def test_time_and_versions_are_told(written: Written) -> None:
    told = words(written.root)
    assert "1:58 (508 timesteps/s)" in told
    assert "torch2.13.0" in told.replace(" ", "")
    assert f"policy of timestep {KEPT_STEP:,}" in told


# --- what is missing or broken is said ---
def small_run(folder: Path, *overrides: str) -> Config:
    return make_run(
        open_store(str(folder)), "small", "evaluation.starts=1", "evaluation.tracks=[]", *overrides
    )


def report_on(folder: Path) -> str:
    storage = open_store(str(folder))
    return write_report(policy_of(storage, "small"), storage, folder / "out", lambda _: None).read_text(
        "utf-8"
    )


@pytest.mark.parametrize("content", [None, b"no event file at all" * 20], ids=["missing", "broken"])
def test_a_run_without_readable_metrics_gives_a_page_that_says_so(
    tmp_path: Path, content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(tmp_path / "none"))
    small_run(tmp_path)
    if content is not None:
        key = f"{layout.metrics_prefix('small')}/events.out.tfevents.1.host"
        open_store(str(tmp_path)).put(key, content)
    root = page_of(report_on(tmp_path))
    (said,) = [p for p in root.iter("p") if p.get("id") == "no-curves"]
    assert words(said).startswith("There are no curves. The")
    assert not [h for h in root.iter("h3") if words(h) == "Reward of an episode"]
    # And the film is a gif, for want of an encoder.
    assert next(root.iter("img")).get("src").startswith("data:image/gif;base64,")


def test_a_policy_that_never_laps_and_a_track_that_is_gone_are_told(tmp_path: Path) -> None:
    gone = Track.generate(2, 60.0, name="gone").save(tmp_path / "gone")
    tracks = json.dumps([TRAINING, str(gone)])
    config = small_run(tmp_path, f"env.tracks={tracks}")
    shutil.rmtree(tmp_path / "gone")
    save_policy(claim(open_store(str(tmp_path)), "small", "sac", 2), straight_on(config), 70_000)
    text = report_on(tmp_path)
    assert "completes 0 of 1 laps on 1 track it learnt on." in text
    assert "No lap completed: the longest drive" in text
    assert f"The policy completes no lap on {TRAINING}: there are no sector times." in text
    assert f"The longest drive on {TRAINING}" in text
    assert re.search(r"Track .*gone_map.yaml is missing from this report: ", text)
    page_of(text)


def test_a_report_that_cannot_be_written_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_run(tmp_path)
    (tmp_path / layout.report_prefix("small")).write_text(
        "a file where the folder should be", encoding="utf-8"
    )
    assert main(["report", "small", "--store", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "cannot be written to" in said
    assert "Traceback" not in said
