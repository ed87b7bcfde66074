"""Names of a run: what they look like, that they read back, and what is refused."""

import inspect
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training import layout
from training.errors import DataError, UsageError

SHA = "a" * 64
UUID = "0123456789abcdef" * 2
RUN = "20261123-104259-a1b2c3"
SEGMENT = layout.SegmentId(epoch=3, agent="agent0", first=0, last=999, sha256=SHA)
CHECKPOINT = layout.CheckpointId(50_000, 3, UUID)

run_names = st.from_regex(layout.RUN_NAME_PATTERN, fullmatch=True)
agents = st.from_regex(r"[a-z0-9](?:[a-z0-9_]{0,20}[a-z0-9])?", fullmatch=True)
counts = st.integers(0, 10**14)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


def test_a_run_id_is_the_utc_time_and_a_token() -> None:
    berlin = timezone(timedelta(hours=1))
    assert layout.make_run_id(datetime(2026, 11, 23, 11, 42, 59, tzinfo=berlin), "a1b2c3") == RUN


def test_run_ids_sort_by_time() -> None:
    start = datetime(2026, 12, 31, 23, 59, 50, tzinfo=timezone.utc)
    ids = [layout.make_run_id(start + timedelta(seconds=7 * n), f"{99 - n:06x}") for n in range(5)]
    assert ids == sorted(ids)


def test_a_fresh_run_id_is_a_legal_run_name_and_new_each_time() -> None:
    first, second = layout.new_run_id(), layout.new_run_id()
    assert first != second
    assert layout.check_run_name(first) == first


@pytest.mark.parametrize("token", ["a1b2c", "A1B2C3", "../../x", "a1b2c3\n"])
def test_a_run_id_takes_only_six_hex_digits(token: str) -> None:
    with pytest.raises(ValueError, match="6 hex digits"):
        layout.make_run_id(datetime(2026, 1, 1, tzinfo=timezone.utc), token)


@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "A", "a_b", "a/b", "..", ".", "a b", "a\n", "é", "a" * 49, "runs/../x", "٣"]
)
def test_a_run_name_that_could_leave_its_folder_or_break_a_tag_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="run name"):
        layout.run_prefix(name)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (layout.config_key(RUN), "config.json"),
        (layout.status_key(RUN), "status.json"),
        (layout.control_key(RUN), "control.json"),
        (layout.attempts_key(RUN), "attempts.json"),
        (layout.fleet_key(RUN), "fleet.json"),
        (layout.log_chunk_key(RUN, 2, 17), "logs/0002/00000017.log"),
        (layout.pointer_key(RUN, "sac"), "checkpoints/sac_latest_checkpoint.json"),
        (layout.manifest_key(RUN, CHECKPOINT), f"checkpoints/000000050000-0003-{UUID}/manifest.json"),
        (
            layout.member_key(RUN, CHECKPOINT, "a.safetensors"),
            f"checkpoints/000000050000-0003-{UUID}/a.safetensors",
        ),
        (layout.segment_key(RUN, SEGMENT), f"replay/e3/agent0/000000000000-000000000999-{SHA}"),
        (layout.model_key(RUN, "sac", 50_000), "models/sac/000000050000.zip"),
        (layout.map_file_key(RUN, "0123456789abcdef", "hall.png"), "maps/0123456789abcdef/hall.png"),
        (layout.metrics_prefix(RUN), "metrics"),
        (layout.report_prefix(RUN), "report"),
    ],
)
def test_the_keys_of_a_run_are_those_of_the_store_layout(key: str, expected: str) -> None:
    assert key == f"runs/{RUN}/{expected}"


def test_a_script_bundle_is_named_by_its_content() -> None:
    assert layout.script_bundle_key(SHA) == f"scripts/{SHA}.tar.gz"


@given(run_names, counts, st.integers(0, 10**6), st.text("0123456789abcdef", min_size=32, max_size=32))
def test_a_checkpoint_reads_back_from_its_prefix_and_from_any_key_below(
    run: str, step: int, epoch: int, uuid: str
) -> None:
    checkpoint = layout.CheckpointId(step, epoch, uuid)
    assert layout.parse_checkpoint(str(checkpoint)) == checkpoint
    assert layout.parse_checkpoint(layout.checkpoint_prefix(run, checkpoint)) == checkpoint
    assert layout.parse_checkpoint(layout.manifest_key(run, checkpoint)) == checkpoint
    assert layout.parse_run(layout.manifest_key(run, checkpoint)) == run


@given(run_names, st.integers(0, 10**6), agents, counts, st.integers(0, 10**6), digests)
def test_a_replay_segment_reads_back_from_its_key(  # noqa: PLR0917 - hypothesis draws the parts
    run: str, epoch: int, agent: str, first: int, length: int, sha256: str
) -> None:
    segment = layout.SegmentId(epoch, agent, first, first + length, sha256)
    assert layout.parse_segment_key(layout.segment_key(run, segment)) == segment


@given(st.lists(st.integers(0, 10**12 - 1), min_size=2, max_size=5, unique=True))
def test_checkpoints_sort_by_step(steps: list[int]) -> None:
    names = [str(layout.CheckpointId(step, 1, UUID)) for step in sorted(steps)]
    assert names == sorted(names)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "runs",
        f"runs/{RUN}/replay/e1/agent0/000000000000-000000000009-{SHA}/x",
        f"runs/{RUN}/replay/e1/../000000000000-000000000009-{SHA}",
        f"runs/{RUN}/replay/1/agent0/000000000000-000000000009-{SHA}",
        f"runs/{RUN}/replay/e1/agent0/000000000009-000000000000-{SHA}",
        f"runs/{RUN}/replay/e1/agent0/000000000000-000000000009-{SHA[1:]}",
        f"runs/../replay/e1/agent0/000000000000-000000000009-{SHA}",
        f"scripts/{RUN}/replay/e1/agent0/000000000000-000000000009-{SHA}",
        f"/runs/{RUN}/replay/e1/agent0/000000000000-000000000009-{SHA}",
    ],
)
def test_a_key_that_is_no_replay_segment_is_refused(key: str) -> None:
    with pytest.raises(DataError):
        layout.parse_segment_key(key)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "1-1-1",
        f"runs/{RUN}/checkpoints",
        f"runs/{RUN}/models/000000050000-0003-{UUID}",
        f"x/{CHECKPOINT}",
    ],
)
def test_a_name_that_is_no_checkpoint_is_refused(name: str) -> None:
    with pytest.raises(DataError):
        layout.parse_checkpoint(name)


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "../x", "a\\b", "a\x00", "a" * 129, "policy\n"])
def test_a_file_name_that_could_leave_its_checkpoint_is_refused(name: str) -> None:
    with pytest.raises(DataError, match="file name in a checkpoint"):
        layout.member_key(RUN, CHECKPOINT, name)


def test_a_bundle_is_named_by_a_whole_sha256() -> None:
    with pytest.raises(DataError, match="sha256"):
        layout.script_bundle_key("../../etc/passwd")


def test_names_on_aws_hold_what_keeps_them_apart() -> None:
    assert (
        layout.default_bucket_name("f1tenth", "123456789012", "us-east-2") == "f1tenth-123456789012-us-east-2"
    )
    assert layout.wandb_parameter_name("f1tenth") == "/f1tenth/wandb-api-key"


# --- what is ours in a bucket that others use, too ---
SAMPLES: dict[str, object] = {
    "run": RUN,
    "training_type": "sac",
    "checkpoint": CHECKPOINT,
    "segment": SEGMENT,
    "sha256": SHA,
    "attempt": 3,
    "number": 1,
    "name": "agent0.learner",
    "step": 1_000,
    "agent": 1,
    "digest": "0123456789abcdef",
    "file": "hall.yaml",
}


def all_keys() -> dict[str, str]:
    """Call every function of the layout that makes a key, and every one that makes a prefix of keys of a run."""
    made = {}
    for name, function in vars(layout).items():
        makes_one = name.endswith(("_key", "_prefix")) and not name.startswith(("_", "is_", "parse_"))
        if inspect.isfunction(function) and makes_one:
            parameters = inspect.signature(function).parameters.items()
            needed = [key for key, one in parameters if one.default is inspect.Parameter.empty]
            made[name] = function(**{key: SAMPLES[key] for key in needed})
    return made


def test_every_key_that_the_project_writes_is_known_as_its_own() -> None:
    keys = all_keys()
    assert len(keys) >= 15
    assert [name for name, key in keys.items() if name.endswith("_key") and not layout.is_own_key(key)] == []
    folders = [key for name, key in keys.items() if name.endswith("_prefix") and name != "run_prefix"]
    assert [key for key in folders if not layout.is_own_key(f"{key}/x")] == []


@pytest.mark.parametrize(
    "key",
    [
        "data/a.csv", "runs", "runs/", "runs/race/", "runs/race/notes.txt", "runs/My Run/status.json", "scripts/",
        "scripts/deploy.sh", "scripts/old/" + SHA + ".tar.gz", "scripts/" + SHA + ".tar.gz.bak", "runs.txt",
        "runs/race/report", "runs/race/report/", "x/runs/race/status.json", "runs/race/status.json/x",
    ],
)  # fmt: skip
def test_a_key_that_only_looks_like_one_of_ours_is_not(key: str) -> None:
    assert not layout.is_own_key(key)


def test_only_the_folder_of_a_run_is_a_run() -> None:
    assert layout.is_run_prefix(f"runs/{RUN}/")
    assert not [
        one for one in ("runs/My Run/", "runs/", "runs/a/b/", "scripts/a/") if layout.is_run_prefix(one)
    ]
