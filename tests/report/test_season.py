"""The races of a report of several agents: table, policies over time, and a film in which the cars differ."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tests.report.runs import QUICK, driver_by_hand, save_policies, straight_on
from training import layout
from training.__main__ import main
from training.config import load_config
from training.envs.race import Race
from training.envs.rendering.canvas import car_colour
from training.envs.rendering.scenery import Scenery
from training.evaluation.load_run import policy_of
from training.evaluation.races import Entrant, race_all
from training.evaluation.recording import race_trace
from training.evaluation.tournament import RACES, in_words, run_tournament
from training.report.frames import Painter
from training.sim import Track
from training.sim.params import X, Y
from training.store.checkpoint import claim
from training.store.open import open_store

pytestmark = pytest.mark.slow
# In single file: the drivers by hand know no car beside them.
TWO = (
    *QUICK,
    "training.training_type=sac_multiagent",
    "training.num_agents=2",
    "evaluation.starts=2",
    "env.race.grid=single_file",
)
STEPS = (1_000, 20_000, 60_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Leave a run of two agents: the first laps and learnt it late, the second drives straight on."""
    folder = tmp_path_factory.mktemp("season")
    storage, config = open_store(str(folder)), load_config(None, TWO, "local")
    good, bad = driver_by_hand(config), straight_on(config)
    storage.put(layout.config_key("two"), json.dumps(config.to_json_dict()).encode())
    save_policies(claim(storage, "two", "sac_multiagent", 1), [good, bad], STEPS[-1])
    for step, policy in zip(STEPS, (bad, driver_by_hand(config, boldness=1.5), good), strict=True):
        storage.put(layout.policy_key("two", 0, step), policy.encode())
    return folder


def test_who_laps_wins_over_who_does_not_and_over_its_own_past(folder: Path) -> None:
    storage = open_store(str(folder))
    found = run_tournament(policy_of(storage, "two"), storage, Track.load("generated-3-l60"))
    rows = {row.name: row for row in found.rows}
    assert set(rows) == {"agent 0", "agent 1", "follow-the-gap", "pure pursuit"}
    assert rows["agent 1"].wins == 0
    assert rows["agent 0"].wins >= RACES
    assert {row.races for row in rows.values()} == {3 * RACES}
    over = found.over_time
    assert over is not None
    assert over.steps == list(STEPS)
    assert over.elo[0] < over.elo[2]
    assert (over.wins[0, 2], over.wins[2, 0]) == (0.0, over.races)
    assert [row["cells"][i] for i, row in enumerate(in_words(over))] == ["–"] * 3


def test_many_equal_agents_win_equally_often(tmp_path: Path) -> None:
    """Each is in front of each other one in half of their races, however many there are."""
    storage = open_store(str(tmp_path))
    config = load_config(None, [*TWO, "training.num_agents=10"], "local")
    storage.put(layout.config_key("ten"), json.dumps(config.to_json_dict()).encode())
    save_policies(claim(storage, "ten", "sac_multiagent", 1), [driver_by_hand(config)] * 10, STEPS[-1])
    rows = run_tournament(policy_of(storage, "ten"), storage, Track.load("generated-3-l60")).rows
    wins = [row.wins for row in rows if row.name.startswith("agent")]
    assert {row.races for row in rows} == {11 * RACES}
    assert min(wins) > 9 * RACES / 3
    assert max(wins) - min(wins) <= RACES


@pytest.mark.parametrize(
    ("track", "grid"), [("generated-3-l60", "side_by_side"), ("generated-3-l60-w0.5", "single_file")]
)
def test_policies_over_time_start_side_by_side_where_there_is_room(
    folder: Path, track: str, grid: str
) -> None:
    """A run that learnt such starts is told by them: in single file who is in front mostly wins."""
    storage = open_store(str(folder))
    loaded = policy_of(storage, "two")
    rules = loaded.config.env.race.model_copy(update={"grid": "either"})
    either = loaded.config.env.model_copy(update={"race": rules})
    loaded = loaded._replace(config=loaded.config.model_copy(update={"env": either}))
    over = run_tournament(loaded, storage, Track.load(track)).over_time
    assert over is not None
    assert over.grid == grid
    early, bold, late = range(3)  # of STEPS: the first drives straight on
    assert over.wins[late, early] > over.races / 2
    # In single file who is in front wins between two that lap; side by side the line decides.
    assert (over.wins[late, bold] == over.races / 2) == (grid == "single_file")


def test_the_page_shows_the_races(folder: Path) -> None:
    assert main(["report", "two", "--store", str(folder)]) == 0
    page = folder / layout.report_prefix("two") / "index.html"
    root = ET.fromstring(page.read_text(encoding="utf-8").removeprefix("<!DOCTYPE html>\n"))  # noqa: S314 - ours
    tables = {table.get("id"): table for table in root.iter("table")}
    drivers = [row.get("data-driver") for row in tables["races"].iter("tr") if row.get("data-driver")]
    assert drivers == ["agent 0", "agent 1", "pure pursuit", "follow-the-gap"]
    assert len(list(tables["over-time"].iter("tr"))) == 1 + len(STEPS)
    cells = [cell.get("data-driver") for cell in root.iter("td") if cell.get("data-driver")]
    assert [name for name in dict.fromkeys(cells) if name != "racing line"] == drivers, (
        "the table of laps has the same names"
    )
    assert "The policy of agent 0, of timestep 41,000, completes " in "".join(root.itertext())
    assert (
        len([video for video in root.iter("video") if video.get("src", "").startswith("data:video/mp4")]) == 2
    )
    assert (page.parent / "race.mp4").stat().st_size > 10_000


def test_a_race_replayed_is_the_race_and_its_cars_have_their_colours() -> None:
    """The replay is at every decision where the race was; both cars' colours are in the picture, on their places."""
    config, track = load_config(None, TWO, "local"), Track.load("generated-3-l60")
    drivers = [
        Entrant("bold", config.env, driver_by_hand(config, boldness=2.5)),
        Entrant("timid", config.env, driver_by_hand(config, boldness=2.0)),
    ]
    (result,) = race_all(drivers, [(0, 1)], track, laps=1)
    trace = race_trace(result, ["bold", "timid"])
    race = Race(result.tape.settings, [track], 1, 2)
    race.reset(poses=result.tape.poses[None])
    repeat = result.tape.settings.action_repeat
    for t, command in enumerate(result.tape.commands[:10]):
        race.step(race.actions_of(command[None]))
        assert np.array_equal(race.world.states[0, trace.car], trace.states[(t + 1) * repeat])
        assert trace.rivals is not None
        assert np.array_equal(race.world.states[0, 1 - trace.car], trace.rivals.states[(t + 1) * repeat, 0])
    assert trace.lap_s == result.entries[trace.car].finish_s
    painter = Painter(trace, Scenery(track), "race", 1)
    picture = painter.frame(50)
    for car, state in ((trace.car, trace.states[50]), (1 - trace.car, trace.rivals.states[50, 0])):
        place = painter._canvas.pixels(state[[X, Y]]) - painter._corners[50]
        column, line = place.round().astype(int)
        around = picture[line - 14 : line + 15, column - 14 : column + 15].reshape(-1, 3).astype(int)
        assert (np.abs(around - car_colour(car)).max(axis=1) < 12).sum() > 40
