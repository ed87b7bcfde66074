"""Train variants of settings over seeds, one run after the other, and drive each kept policy on tracks it never saw.

    .venv/bin/python -m tests.bench.experiment SPEC.yaml RESULTS [--minutes 50]
    .venv/bin/python -m tests.bench.experiment SPEC.yaml RESULTS --table

A specification names what all runs share, what each variant changes, and the seeds:

    settings: [env.tyres=saturating, training.max_minutes=2]
    variants:
      as it is: []
      25 Hz: [env.action_repeat=4]
    seeds: [0, 1, 2]

RESULTS holds a row for each run in rows.jsonl, written as the run ends, and the runs themselves. Called again, it skips
what has a row and continues a run that was interrupted. A row says which share of the processors other programs took:
figures of a busy machine are not to be compared. Tracks: five generated ones that no setting names, the circuits where
they are fetched (`python -m training tracks fetch`), and aut, esp, gbr and mco where F1TENTH_BENCHMARKS_MAPS names
their folder. Ten standing starts, two laps, the second timed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import BaseModel, ConfigDict

from training.config import Config, EnvSettings
from training.config.randomisation import Preset, randomisation_of
from training.envs.drivers.registry import driver_of
from training.evaluation.baselines import DriverController
from training.evaluation.lap_evaluation import Controller, Drive, evaluate
from training.evaluation.load_run import policy_of, runs_in
from training.evaluation.tum_racelines import raceline_of
from training.sim import Track
from training.sim.track import catalog
from training.sim.track.names import CIRCUITS
from training.store.open import open_store

STARTS, LAPS, SEED = 10, 2, 7
UNSEEN = range(2001, 2006)
BENCHMARKS = ("aut", "esp", "gbr", "mco")
MAPS_VARIABLE = "F1TENTH_BENCHMARKS_MAPS"
REFERENCE = "racing_line"


class Specification(BaseModel):
    """What to train: each variant's settings after those of all, for each seed."""

    model_config = ConfigDict(extra="forbid")

    settings: list[str] = []
    variants: dict[str, list[str]]
    seeds: list[int]
    randomisation: Preset = "none"  # of the drives

    def runs(self) -> Iterator[tuple[str, int, list[str]]]:
        """Yield variant, seed and settings; all variants of a seed before the next seed."""
        for seed in self.seeds:
            for name, changes in self.variants.items():
                yield name, seed, [*self.settings, *changes, f"training.seed={seed}"]


def tracks() -> list[Track]:
    """Return the tracks that are there, none of them named by the default settings."""
    generated = [Track.load(f"generated-{seed}") for seed in UNSEEN]
    circuits = [Track.load(name) for name in CIRCUITS if name in catalog.fetched_names()]
    folder = os.environ.get(MAPS_VARIABLE)
    benchmarks = [] if folder is None else [Track.load(Path(folder) / f"{name}.yaml") for name in BENCHMARKS]
    return [*generated, *circuits, *benchmarks]


def driven(
    controller: Controller, settings: EnvSettings, fields: Sequence[Track], preset: Preset
) -> dict[str, dict[str, Any]]:
    """Return of each track the completed drives, and the mean of first and median of second laps, s."""
    ranges = None if preset == "none" else randomisation_of(preset)
    drives = evaluate(controller, settings, fields, starts=STARTS, laps=LAPS, seed=SEED, randomisation=ranges)
    return {track.name: figures([one for one in drives if one.track == track.name]) for track in fields}


def figures(drives: Sequence[Drive]) -> dict[str, Any]:
    whole = [one for one in drives if one.completed]
    return {
        "completed": len(whole),
        "first_s": round(statistics.mean(one.lap_s[0] for one in whole), 3) if whole else None,
        "second_s": round(statistics.median(one.lap_s[1] for one in whole), 3) if whole else None,
    }


class Others:
    """How much of the processors other programs took, from the start of this object on."""

    def __init__(self) -> None:
        self._began = (time.monotonic(), _machine_s(), _own_s())

    def share(self) -> float:
        """Return the share, 0 to 1; nan where the system does not tell."""
        wall_s, machine_s, own_s = self._began
        took_s = _machine_s() - machine_s - (_own_s() - own_s)
        return max(took_s, 0.0) / ((time.monotonic() - wall_s) * (os.cpu_count() or 1))


def _machine_s() -> float:
    """Return the time that all programs together have computed, s."""
    try:
        user, nice, system, *_ = (float(x) for x in Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    except OSError:
        return float("nan")
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _own_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def run_one(name: str, seed: int, settings: Sequence[str], preset: Preset, results: Path) -> dict[str, Any]:
    """Train, drive, and return the row."""
    run = "".join(c if c.isalnum() else "-" for c in name.lower()).strip("-") + f"-{seed}"
    arguments = [f"training.run_name={run}", "training.report=false", *settings]
    others, began = Others(), time.monotonic()
    store = str(results / "store")
    begun = ["--resume", run] if run in runs_in(open_store(store)) else []
    log = results / f"{run}.log"
    with log.open("a") as output:
        ended = subprocess.run(
            [sys.executable, "-m", "training", "train", "--store", store]
            + (begun or [part for one in arguments for part in ("--set", one)]),
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode != 0:
        sys.exit(f"{name}, seed {seed}, was not trained: exit {ended.returncode}; {log} says why")
    took_s, share = time.monotonic() - began, others.share()
    loaded = policy_of(open_store(store), run)
    config: Config = loaded.config
    return {
        "variant": name,
        "seed": seed,
        "settings": list(settings),
        "code": commit(),
        "step": loaded.step,
        "kept_step": loaded.kept_step,
        "took_s": round(took_s),
        "others": round(share, 3),
        "randomisation": preset,
        "tracks": driven(loaded.policy, config.env, tracks(), preset),
        "reference": reference(config.env, results),
    }


def reference(settings: EnvSettings, results: Path) -> dict[str, dict[str, Any]]:
    """Return the racing line's drives on the undisturbed car; driven once for each car and rate."""
    place = results / "reference.json"
    known = json.loads(place.read_text()) if place.exists() else {}
    which = settings.model_dump_json(
        include={"tyres", "vehicle", "car", "action_repeat", "speed_cap_mps", "profile"}
    )
    if which not in known:
        known[which] = driven(DriverController(driver_of(REFERENCE, settings)), settings, tracks(), "none")
        place.write_text(json.dumps(known))
    return known[which]


def commit() -> str:
    told = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()


def rows_in(results: Path) -> list[dict[str, Any]]:
    place = results / "rows.jsonl"
    return [json.loads(line) for line in place.read_text().splitlines()] if place.exists() else []


class Paces(NamedTuple):
    """Second laps on the circuits that were completed, over two references'."""

    of_line: list[float]  # the racing-line driver's, at the same rate
    of_tum: list[float]  # of TUM's racing line, where there is one


def paces(row: dict[str, Any]) -> Paces:
    """Return how the second laps of a row compare, circuit by circuit."""
    found, known = row["tracks"], row["reference"]
    lapped = [name for name in CIRCUITS if name in found and found[name]["second_s"] is not None]
    lines = {name: raceline_of(Track.load(name)) for name in lapped}
    return Paces(
        [found[name]["second_s"] / known[name]["second_s"] for name in lapped if known[name]["second_s"]],
        [found[name]["second_s"] / line.lap_s for name, line in lines.items() if line is not None],
    )


def summary(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row's figures over groups of tracks."""
    found = row["tracks"]

    def whole(names: Sequence[str]) -> str:
        here = [name for name in names if name in found]
        drives = sum(found[name]["completed"] for name in here)
        return f"{sum(found[name]['completed'] == STARTS for name in here)}/{len(here)} ({drives})"

    pace = paces(row)
    first = [found[name]["first_s"] for name in BENCHMARKS if name in found]
    return {
        "variant": row["variant"],
        "seed": row["seed"],
        "step": row["step"],
        "kept": row["kept_step"],
        "others": row["others"],
        "generated": whole([name for name in found if name.startswith("generated-")]),
        "circuits": whole(CIRCUITS),
        "aut esp gbr mco": whole(BENCHMARKS),
        "of line": f"{statistics.mean(pace.of_line):.3f}" if pace.of_line else "",
        "most": f"{max(pace.of_line):.3f}" if pace.of_line else "",
        "of TUM": f"{statistics.mean(pace.of_tum):.3f}" if pace.of_tum else "",
        "most of TUM": f"{max(pace.of_tum):.3f}" if pace.of_tum else "",
        "first s": " ".join("–" if one is None else f"{one:.1f}" for one in first),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table of Markdown."""
    lines = [summary(row) for row in rows]
    if not lines:
        return "no run has ended yet"
    head = list(lines[0])
    body = [[str(line[key]) for key in head] for line in lines]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *body])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spec", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--minutes", type=float, default=50.0, help="begin no run after this long")
    parser.add_argument("--table", action="store_true", help="print what has ended, and train nothing")
    asked = parser.parse_args(arguments)
    spec = Specification.model_validate(yaml.safe_load(asked.spec.read_text()))
    asked.results.mkdir(parents=True, exist_ok=True)
    rows, began = rows_in(asked.results), time.monotonic()
    done = {(row["variant"], row["seed"]) for row in rows}
    for name, seed, settings in () if asked.table else spec.runs():
        if (name, seed) in done:
            continue
        if time.monotonic() - began > asked.minutes * 60:
            print("time is up; the same command continues")
            break
        row = run_one(name, seed, settings, spec.randomisation, asked.results)
        with (asked.results / "rows.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        rows.append(row)
        print(json.dumps(summary(row), ensure_ascii=False), flush=True)
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
