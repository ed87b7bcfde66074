"""What the `info` of Gymnasium's and PettingZoo's environments says of a car."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .race import Outcome, Race


def car_info(race: Race, outcome: Outcome | None, n: int) -> dict[str, Any]:
    """Return the info of car n of the first race, after a step with this outcome, or after a reset without one.

    terms (of the reward, by name), progress_m, laps, lap_s (of the last lap, once there is one). With several cars also
    position, gap_ahead_m, gap_behind_m, overtakes, overtaken, crashed, wall, at_fault, hit (by another car, without
    fault), hit_car (its number, -1 for none).
    """
    info: dict[str, Any] = {
        "terms": {} if outcome is None else {k: float(v[0, n]) for k, v in outcome.terms.items()},
        "progress_m": float(race.world.progress_m[0, n]),
        "laps": int(race.laps.done[0, n]),
    }
    if info["laps"]:
        info["lap_s"] = float(race.laps.last_s[0, n])
    if race.num_cars == 1:
        return info
    standings = race.standings
    info |= {
        "position": int(standings.position[0, n]),
        "gap_ahead_m": float(standings.gap_ahead_m[0, n]),
        "gap_behind_m": float(standings.gap_behind_m[0, n]),
        "overtakes": int(standings.overtakes[0, n]),
        "overtaken": int(standings.overtaken[0, n]),
    }
    if outcome is not None:
        contacts = outcome.contacts
        info |= {
            "crashed": bool(outcome.terminated[0, n]),
            "wall": bool(contacts.wall[0, n]),
            "at_fault": bool(contacts.at_fault[0, n]),
            "hit": bool(contacts.hit[0, n]),
            "hit_car": int(race.world.collision_idx[0, n]),
        }
    return info
