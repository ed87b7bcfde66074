"""Published tables of lap times, and a policy's drives under the same conditions.

The figures are the authors' own; the maps are theirs and are read from a copy of their repository.
"""

from __future__ import annotations

import hashlib
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config.vehicle import VEHICLES
from ..errors import ConfigurationError, DataError, UsageError
from ..sim import Track
from ..sim.track import catalog
from .lap_evaluation import evaluate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config import EnvSettings
    from .lap_evaluation import Controller

STARTS, SEED = 10, 12345


class Peer(NamedTuple):
    """One line of a published table: seconds by track, and the share of laps that were completed, if it says so."""

    name: str
    lap_s: Mapping[str, float]
    completed_percent: Mapping[str, int] = {}


class PublishedTable(NamedTuple):
    """A published table, its conditions, and those of our drives."""

    name: str
    source: str
    their_conditions: str
    our_conditions: str
    vehicle: str
    speed_cap_mps: float
    laps: int  # of each drive; the last is timed
    maps: Mapping[
        str, str
    ]  # SHA-256 of each map's files in the folder that is named; empty: fetched circuits
    peers: tuple[Peer, ...]

    @property
    def tracks(self) -> list[str]:
        """Return the tracks, in the order of the table."""
        return list(self.peers[0].lap_s)


class TrackResult(NamedTuple):
    """How a policy drove one track of a table."""

    track: str
    completed: int
    starts: int
    mean_s: float | None  # of the timed laps
    best_s: float | None


def _four(*seconds: float) -> dict[str, float]:
    return dict(zip(("aut", "esp", "gbr", "mco"), seconds, strict=True))


TABLES = {
    table.name: table
    for table in (
        PublishedTable(
            name="f1tenth_benchmarks",
            source="github.com/BDEvan5/f1tenth_benchmarks, commit c9730789dd0fa85fc18dd4b600c5246e134ebe22",
            their_conditions="linear tyres, f1tenth_gym's car, 1 to 8 m/s, 25 Hz, 1,080 beams with noise; 10 laps from "
            "a standstill, the first from the start line, the others from random places; a lap ends at 99.5 % of it",
            our_conditions="the same tyres, car and cap; the run's own rate and beams, no noise; 10 laps from a "
            "standstill at random places; a lap ends where it began",
            vehicle="f1tenth_gym",
            speed_cap_mps=8.0,
            laps=1,
            maps={
                "aut.png": "e1416a2f34a959cebd0de98b0e330057e1b399748fc1767e2210834f19575129",
                "aut.yaml": "bbe7a2843c99badd0521291a6e0f5e56c25ddc03c53dddc068f6e567400dc74f",
                "aut_centerline.csv": "e5bd1bfd12d144259989664520bca90d2eab78db8a96aac2fabee820b9755dc7",
                "esp.png": "0b43f364d034535de135730f8f111addd217f5362cd2727edd12f3f8d233289e",
                "esp.yaml": "b08b397c40df0ca57075dbf5df82366dc483d8a9279dfe13ebbbd605ede516c1",
                "esp_centerline.csv": "2826567731d425cbedebac3d3686e7f3747a8aefef37ca20190e8d29882efff5",
                "gbr.png": "6407104d09761f7f349046ee725c05446ddb77e7e677c1fcf118ce57d00bfeaf",
                "gbr.yaml": "bda20f1f4e73f042bd3891837c6ff10c44a55c830272b4b8b235806b6aa368f9",
                "gbr_centerline.csv": "cc1b959834b86b4ef615ea7f2e23e1c1e6d64bcbdac2366b50b482d0bc2d5814",
                "mco.png": "fa9b67b23fb2ba4a91dec1224245d82679c3552cb2677b95bdaa4e5f046dcd1f",
                "mco.yaml": "fe57c0602e787dd6dbf23155427dbd3e6d9cc2dce75186eeedfe9fe7765e9901",
                "mco_centerline.csv": "2dbde7e69b970dfd6a5d841aaf91207cce367bf72db87f5e236e3a93d5babd81",
            },
            peers=(
                Peer(
                    "optimised line, pure pursuit (map, true pose)",
                    _four(16.79, 35.92, 31.24, 28.08),
                    {"aut": 100, "esp": 50, "gbr": 100, "mco": 20},
                ),
                Peer("MPCC (map)", _four(16.87, 39.13, 35.40, 31.53), {"aut": 100}),
                Peer(
                    "follow-the-gap",
                    _four(19.10, 45.78, 39.34, 34.99),
                    {"aut": 70, "esp": 100, "gbr": 100, "mco": 90},
                ),
                Peer(
                    "TD3 with trajectory-aided reward",
                    _four(19.94, 46.37, 40.22, 34.93),
                    dict.fromkeys(("aut", "esp", "gbr", "mco"), 100),
                ),
            ),
        ),
        PublishedTable(
            name="rpl4f110",
            source="rpl4f110, a PPO residual policy on a map, 10 million steps",
            their_conditions="linear tyres, the vehicle rpl4f110, at most 8 m/s, 100 Hz; the second lap, with a "
            "running start",
            our_conditions="the same tyres, vehicle and cap; the run's own rate and beams; second laps of 10 drives "
            "from a standstill at random places; without a map",
            vehicle="rpl4f110",
            speed_cap_mps=8.0,
            laps=2,
            maps={},
            peers=(
                Peer(
                    "rpl4f110",
                    {
                        "Nuerburgring": 58.07,
                        "MoscowRaceway": 43.45,
                        "MexicoCity": 46.76,
                        "BrandsHatch": 44.97,
                        "SaoPaulo": 44.92,
                        "Sepang": 63.18,
                        "Hockenheim": 47.35,
                        "Budapest": 51.67,
                        "Spielberg": 43.93,
                        "Sakhir": 57.72,
                        "Catalunya": 53.54,
                        "Melbourne": 59.54,
                    },
                ),
            ),
        ),
    )
}


def check_driver(table: PublishedTable, settings: EnvSettings) -> None:
    """Refuse a policy of another car, or one that may ask for more speed.

    Raises:
        ConfigurationError: names the setting, both values and what to train.

    """
    numbers = VEHICLES[table.vehicle]
    train = f'Train one: make train ARGS="--set env.vehicle={table.vehicle} --set env.tyres=linear"'
    if settings.car_numbers != numbers:
        raise ConfigurationError(
            f"the run learnt to drive {settings.vehicle}; the table {table.name} is of {table.vehicle}",
            next_step=train,
        )
    if settings.speed_cap_mps > table.speed_cap_mps:
        raise ConfigurationError(
            f"env.speed_cap_mps = {settings.speed_cap_mps:g} in the run; the table {table.name} has at most "
            f"{table.speed_cap_mps:g}",
            next_step=train,
        )


def load_tracks(table: PublishedTable, maps: Path | None) -> list[Track]:
    """Return the tracks of a table.

    maps: the folder of the maps, where the table is not of the fetched circuits.

    Raises:
        UsageError: no folder was given for a table that needs one.
        DataError: a file of it is missing, or is not the one of the table.
        TrackError: a circuit was not fetched.

    """
    if not table.maps:
        return [Track.load(catalog.fetched(name)) for name in table.tracks]
    if maps is None:
        raise UsageError(
            f"the maps of {table.name} are not part of this program",
            next_step=f"Fetch {table.source}; then give its folder: --maps DIR",
        )
    for file, expected in table.maps.items():
        place = maps / file
        try:
            found = hashlib.sha256(place.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"{place} cannot be read: {error.strerror}; it is of {table.source}") from error
        if found != expected:
            raise DataError(f"{place} is not that of {table.source}: its SHA-256 is {found}, not {expected}")
    return [Track.load(maps / f"{name}.yaml") for name in table.tracks]


def drive_table(
    table: PublishedTable, controller: Controller, settings: EnvSettings, tracks: list[Track], tyres: str
) -> list[TrackResult]:
    """Drive a policy on each track of a table, on one kind of tyres."""
    # Validated again: the settings of the physics depend on each other.
    chosen = type(settings).model_validate({**settings.model_dump(), "tyres": tyres})
    drives = evaluate(controller, chosen, tracks, starts=STARTS, laps=table.laps, seed=SEED)
    rows = []
    for track in tracks:
        here = [one for one in drives if one.track == track.name]
        timed = [one.lap_s[table.laps - 1] for one in here if one.completed]
        rows.append(
            TrackResult(
                track.name,
                len(timed),
                len(here),
                statistics.mean(timed) if timed else None,
                min(timed, default=None),
            )
        )
    return rows


def table_data(table: PublishedTable, results: Mapping[str, list[TrackResult]]) -> dict[str, Any]:
    """Return a table and our results, by tyres, as JSON data."""
    return {
        "table": table.name,
        "source": table.source,
        "their_conditions": table.their_conditions,
        "our_conditions": table.our_conditions,
        "theirs": [
            {"name": peer.name, "lap_s": dict(peer.lap_s), "completed_percent": dict(peer.completed_percent)}
            for peer in table.peers
        ],
        "ours": {tyres: [row._asdict() for row in rows] for tyres, rows in results.items()},
    }
