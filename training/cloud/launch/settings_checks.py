"""Settings that the trainer would refuse on the machine, for money, are refused here, in its own words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ...config import AwsSettings, CloudwatchSettings, Config, EnvSettings, PolicySources
from ...config.checks import check_backend, check_grid_length
from ...config.resume import check_league
from ...errors import ConfigurationError, UsageError
from ...sim.track import names as track_names
from ...sim.track import spec
from ...store.storage import Storage
from ...stored_runs import policy_sources

# The system, its agents, and a trainer that has loaded torch and the tracks.
SYSTEM_BYTES = 2e9
# A map's free cells and distances, besides the memory that reading it takes for a moment (docs/simulator.md).
BYTES_PER_MAP_CELL = 30
# The folder of f1tenth_racetracks on an image (ansible/roles/python_env); a machine has no other maps.
MAPS = "/opt/f1tenth/maps/"


def check_new(config: Config, lengths_m: Mapping[str, float] | None = None) -> None:
    """Refuse a new run's settings that the trainer refuses; lengths_m: of the maps that it carries, by name."""
    check_league(config)
    check_backend(config.env)
    check_tracks(config.tracks_by_setting)
    check_grid(config.env, config.num_cars, lengths_m or {})
    check_namespace(config.cloudwatch, config.aws)


def free_memory(memory_mib: int, kinds: Sequence[str], map_cells: int = 0) -> tuple[float, str]:
    """Return the bytes that a run may take on the smallest of its machines, and what they are, for people.

    map_cells: of the maps that it carries.
    """
    free = memory_mib * 2**20 - SYSTEM_BYTES - map_cells * BYTES_PER_MAP_CELL
    return free, f"free on the smallest of {', '.join(kinds)}, {memory_mib / 1024:.0f} GiB in all"


def check_namespace(cloudwatch: CloudwatchSettings, aws: AwsSettings) -> None:
    """Raise UsageError for a namespace of CloudWatch in which no machine may write: its policy names the project's."""
    name, project = cloudwatch.namespace, aws.project_name
    if cloudwatch.enabled and name not in {None, project}:
        raise UsageError(
            f"cloudwatch.namespace = {name!r}: a machine may write only in {project!r}, the project's own",
            next_step=f"Leave it out, or write null, or {project}; on your own computer any namespace will do.",
        )


def check_tracks(tracks: Mapping[str, Sequence[str]]) -> None:
    """Raise UsageError for a track that no machine would find, or that cannot be built; tracks: by their setting."""
    for key, names in tracks.items():
        for name in names:
            recipe = track_names.recipe(name)
            if recipe is not None:
                try:
                    spec.spec_of(recipe)
                except spec.TrackError as error:
                    raise UsageError(f"{key}: {name}: {error}") from error
            elif circuit_of(name) is None and track_names.packed_parts(name) is None:
                # Of a run that began on this computer: the maps of a launch's own settings are packed before.
                raise UsageError(
                    f"{key}: a machine has no track {name!r}, and the run does not carry it",
                    next_step="A run that began here with its own map continues here. In the cloud, begin a new one "
                    f"with its networks: --set training.init_from=RUN --set '{key}=[{name}]'",
                )


def circuit_of(name: str) -> str | None:
    """Return the circuit that a name, or a path on a machine, means; None if it is none that the image has."""
    if name in track_names.CIRCUITS:
        return name
    if not name.startswith(MAPS):
        return None
    folder, _, file = name.removeprefix(MAPS).rstrip("/").partition("/")
    circuit = folder.replace(" ", "")  # MexicoCity is in "Mexico City"
    known = circuit in track_names.CIRCUITS and file in {"", f"{circuit}_map.yaml"}
    return circuit if known else None


def check_grid(env: EnvSettings, num_cars: int, lengths_m: Mapping[str, float]) -> None:
    """Refuse more cars than the shortest track to learn on is sure to hold; its true length only the trainer knows."""
    for name, length_m in sorted(_lengths(env.tracks, lengths_m), key=lambda pair: pair[1])[:1]:
        check_grid_length(env.race, num_cars, name, length_m)


def _lengths(names: Iterable[str], lengths_m: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yield each track to learn on with the least length, m, that it can have; of a carried map it is known."""
    for name in names:
        if name in lengths_m:
            yield name, lengths_m[name]
            continue
        recipe = track_names.recipe(name)
        if recipe is not None:
            yield name, spec.spec_of(recipe).length_m * (1 - spec.LENGTH_TOLERANCE)
        else:
            circuit = circuit_of(name)
            if circuit is not None:
                length_m = track_names.CIRCUIT_LENGTHS_M[circuit]
                yield name, length_m * (1 - spec.LENGTH_TOLERANCE)


def check_sources(storage: Storage | None, sources: PolicySources, run: str) -> str:
    """Return what a run takes over from others, for people; "" for nothing.

    storage: None where there is no bucket yet. Raises ConfigurationError for what is not in the bucket.
    """
    if not sources.any:
        return ""
    if storage is None:
        raise ConfigurationError(
            "training.init_from and multi_agent.league.checkpoints name runs of the bucket, which is not there yet",
            next_step="Set up: ./launch.py up. Then copy the runs there: aws s3 sync runs/RUN s3://BUCKET/runs/RUN",
        )
    if policy_sources.is_copied(storage, run, sources):
        return "what was copied into it at its first launch"
    try:
        return policy_sources.check(storage, sources)
    except ConfigurationError as error:
        copy = f"A run of this computer is copied there by: aws s3 sync runs/RUN {storage.url}/runs/RUN"
        raise ConfigurationError(error.message, next_step=f"{error.next_step}\n{copy}".strip()) from error
