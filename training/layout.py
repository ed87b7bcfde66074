"""Every name of a run: ids, store keys, tags, paths. Nothing else in the project spells one.

Keys are the same in a directory and in S3. A key never starts with a slash and never contains `..`.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import NamedTuple

from .errors import DataError, UsageError

RUNS = "runs"
SCRIPTS = "scripts"
# Everything that the project keeps in a bucket is below these; everything else there is not ours.
OWN_PREFIXES = (f"{RUNS}/", f"{SCRIPTS}/")

# A run's name becomes a directory, an S3 key, an EC2 tag and a part of an IAM policy: the plainest alphabet.
RUN_NAME_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$"
RUN_NAME_RULE = "1 to 48 of a-z, 0-9 and -, neither first nor last a -"

_RUN_NAME = re.compile(RUN_NAME_PATTERN)
_RUN_ID = re.compile(r"^[0-9]{8}-[0-9]{6}-[0-9a-f]{6}$")
_CHECKPOINT = re.compile(r"^(?P<step>[0-9]{12,})-(?P<epoch>[0-9]{4,})-(?P<uuid>[0-9a-f]{32})$")
_SEGMENT = re.compile(r"^(?P<first>[0-9]{12,})-(?P<last>[0-9]{12,})-(?P<sha256>[0-9a-f]{64})$")
_EPOCH = re.compile(r"^e(?P<epoch>[0-9]+)$")
_NAME = re.compile(r"^[a-z0-9](?:[a-z0-9_]{0,62}[a-z0-9])?$")
_LOG_CHUNK = re.compile(r"/logs/(?P<attempt>[0-9]{4,})/[0-9]{8,}\.log$")
_POLICY = re.compile(r"/policies/agent[0-9]+/(?P<step>[0-9]{12,})\.policy$")
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_OWN_KEY = re.compile(
    r"scripts/[0-9a-f]{64}\.tar\.gz"
    r"|runs/[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?/"
    r"(?:(?:config|status|control|attempts|fleet|parent)\.json"
    r"|(?:checkpoints|logs|maps|metrics|models|policies|replay|report|sources)/.+)",
    re.DOTALL,
)
_MAP_DIGEST = re.compile(r"^[0-9a-f]{16}$")
_MEMBER = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")

# --- tags ---
TAG_PROJECT = "Project"
TAG_RUN = "Run"
TAG_OWNER = "Owner"
TAG_EXPIRES_AT = "ExpiresAt"
TAG_BUCKET = "TrainingBucket"  # on the bucket: its owner, and whether we made it or may only use it
TAG_REQUIREMENTS = "RequirementsSha256"  # on the image: the launcher refuses a bundle with another one
TAG_INTERFACE = "ImageInterface"  # on the image: which code its units can start
TAG_FLEET_ID = "aws:ec2:fleet-id"  # AWS writes it on an instance of a fleet; served in IMDS

# --- the image ---
# The calls of its units (`python -m training instance …`, `train`) and their data. A change here refuses older images:
# ansible/roles/python_env/vars has the same number, and f1tenth-fetch reads this line from the code it unpacks.
IMAGE_INTERFACE = 2

# --- paths on the instance ---
IMAGE_JSON = PurePosixPath("/etc/f1tenth-image.json")
RUN_ENV = PurePosixPath("/run/f1tenth/run.env")
RUN_CONFIG = PurePosixPath("/run/f1tenth/config.yaml")  # the settings that reach the store: region, endpoints
FETCH = PurePosixPath("/usr/local/bin/f1tenth-fetch")  # what user data hands over to
OUTCOME_JSON = PurePosixPath("/run/f1tenth/outcome.json")  # how the trainer ended; the finish unit reads it


class CheckpointId(NamedTuple):
    """One checkpoint of a run: its timestep, the epoch of its writer, a random uuid (32 hex digits)."""

    step: int
    epoch: int
    uuid: str

    def __str__(self) -> str:
        """Return the key part, padded so that names sort by step, then by epoch."""
        return f"{self.step:012d}-{self.epoch:04d}-{self.uuid}"


class SegmentId(NamedTuple):
    """One immutable replay segment: transitions first to last (both included) of one agent."""

    epoch: int
    agent: str
    first: int
    last: int
    sha256: str


# --- run ids ---
def make_run_id(now: datetime, token: str) -> str:
    """Return the run id of an instant (any time zone) and 6 random hex digits; ids sort by time."""
    run = f"{now.astimezone(timezone.utc):%Y%m%d-%H%M%S}-{token}"
    if not _RUN_ID.fullmatch(run):
        raise ValueError(f"{run!r} is no run id: the token must be 6 hex digits")
    return run


def new_run_id() -> str:
    """Return a fresh run id, for example 20261123-104259-a1b2c3."""
    return make_run_id(datetime.now(timezone.utc), secrets.token_hex(3))


def check_run_name(name: str) -> str:
    """Return the run name if it can be a key, a tag and a path. UsageError if not."""
    if _RUN_NAME.fullmatch(name):
        return name
    raise UsageError(
        f"run name {name!r} is not allowed: {RUN_NAME_RULE}",
        next_step="Choose another name, or leave it out for a timestamp.",
    )


# --- store keys ---
def run_prefix(run: str) -> str:
    """Return the prefix of everything that belongs to a run, without a closing slash."""
    return f"{RUNS}/{check_run_name(run)}"


def script_bundle_key(sha256: str) -> str:
    """Return the key of a script bundle, named by its content."""
    return f"{SCRIPTS}/{_matching(_SHA256, sha256, 'sha256')}.tar.gz"


def config_key(run: str) -> str:
    """Return the key of the resolved settings."""
    return f"{run_prefix(run)}/config.json"


def status_key(run: str) -> str:
    """Return the key of the status: pending | running | done | stopped | failed."""
    return f"{run_prefix(run)}/status.json"


def control_key(run: str) -> str:
    """Return the key of a laptop's requests to the run."""
    return f"{run_prefix(run)}/control.json"


def attempts_key(run: str) -> str:
    """Return the key of the table of attempts, one row a boot."""
    return f"{run_prefix(run)}/attempts.json"


def fleet_key(run: str) -> str:
    """Return the key of the fleet's id and end date, the fallback where the instance tag is missing."""
    return f"{run_prefix(run)}/fleet.json"


def logs_prefix(run: str) -> str:
    """Return the prefix of the log chunks."""
    return f"{run_prefix(run)}/logs"


def log_chunk_key(run: str, attempt: int, number: int) -> str:
    """Return the key of a log chunk; chunks sort by attempt, then by number."""
    return f"{logs_prefix(run)}/{attempt:04d}/{number:08d}.log"


def parse_log_chunk(key: str) -> int:
    """Return the attempt that wrote a chunk of the log. DataError if the key is of none."""
    found = _LOG_CHUNK.search(key)
    if found is None:
        raise DataError(f"{key!r} is no chunk of a run's log")
    return int(found["attempt"])


def pointer_key(run: str, training_type: str) -> str:
    """Return the key of the pointer that names the newest committed checkpoint."""
    kind = _matching(_NAME, training_type, "training type")
    return f"{run_prefix(run)}/checkpoints/{kind}_latest_checkpoint.json"


def checkpoints_prefix(run: str) -> str:
    """Return the prefix under which checkpoints and pointers are stored."""
    return f"{run_prefix(run)}/checkpoints"


def checkpoint_prefix(run: str, checkpoint: CheckpointId) -> str:
    """Return the prefix of one checkpoint's files."""
    return f"{checkpoints_prefix(run)}/{_matching(_CHECKPOINT, str(checkpoint), 'checkpoint')}"


def manifest_key(run: str, checkpoint: CheckpointId) -> str:
    """Return the key of a checkpoint's manifest."""
    return f"{checkpoint_prefix(run, checkpoint)}/manifest.json"


def partial_manifest_key(run: str, checkpoint: CheckpointId) -> str:
    """Return the key of a partial save's manifest, under another name so that nothing takes it for full."""
    return f"{checkpoint_prefix(run, checkpoint)}/partial.json"


def member_key(run: str, checkpoint: CheckpointId, name: str) -> str:
    """Return the key of one file of a checkpoint. DataError for a name that could leave its prefix."""
    return f"{checkpoint_prefix(run, checkpoint)}/{_matching(_MEMBER, name, 'file name in a checkpoint')}"


# --- files of a checkpoint ---
WORLD_MEMBER = "world"  # simulator, opponents, generators of the libraries


def agent_name(number: int) -> str:
    """Return an agent's name in keys and curves; that of a run with one car is agent0."""
    return f"agent{number}"


def learner_member(number: int) -> str:
    """Return the file of an agent's networks, optimizers and generators."""
    return f"{agent_name(number)}.learner"


def tail_member(number: int) -> str:
    """Return the file of an agent's newest replay rows, which fill no segment yet."""
    return f"{agent_name(number)}.replay_tail"


def kept_member(number: int) -> str:
    """Return the file of the policy that evaluation kept for an agent: the bytes of Policy.encode."""
    return f"{agent_name(number)}.kept"


def replay_prefix(run: str) -> str:
    """Return the prefix of all replay segments of a run."""
    return f"{run_prefix(run)}/replay"


def segment_key(run: str, segment: SegmentId) -> str:
    """Return the key of a replay segment."""
    agent = _matching(_NAME, segment.agent, "agent name")
    name = f"{segment.first:012d}-{segment.last:012d}-{segment.sha256}"
    key = f"{replay_prefix(run)}/e{segment.epoch}/{agent}/{_matching(_SEGMENT, name, 'segment name')}"
    parse_segment_key(key)
    return key


def model_key(run: str, training_type: str, step: int, agent: int | None = None) -> str:
    """Return the key of a stable-baselines3 model for people to download; agent: its number, of several."""
    folder = f"{run_prefix(run)}/models/{_matching(_NAME, training_type, 'training type')}"
    if agent is not None:
        folder += f"/{agent_name(agent)}"
    return f"{folder}/{step:012d}.zip"


def policies_prefix(run: str, agent: int = 0) -> str:
    """Return the prefix of one agent's policies over time."""
    return f"{run_prefix(run)}/policies/agent{agent}"


def policy_key(run: str, agent: int, step: int) -> str:
    """Return the key of the policy that an agent had at a checkpoint; they outlive the checkpoints."""
    return f"{policies_prefix(run, agent)}/{step:012d}.policy"


def parent_key(run: str) -> str:
    """Return the key of the document that says where a run was forked from."""
    return f"{run_prefix(run)}/parent.json"


def sources_key(run: str) -> str:
    """Return the key of the data that a run has taken over from other runs, as the launcher copied it."""
    return f"{run_prefix(run)}/sources/sources.json"


def source_networks_key(run: str, agent: int) -> str:
    """Return the key of the copied networks that an agent of another run had."""
    return f"{run_prefix(run)}/sources/{learner_member(agent)}"


def source_policy_key(run: str, number: int) -> str:
    """Return the key of a copied policy of the pool, by its number in the setting."""
    return f"{run_prefix(run)}/sources/{number:04d}.policy"


def maps_prefix(run: str) -> str:
    """Return the prefix of the maps of one's own that a run carries."""
    return f"{run_prefix(run)}/maps"


def map_file_key(run: str, digest: str, file: str) -> str:
    """Return the key of one file of a map; digest: the first 16 digits of the map's, file: its name."""
    folder = _matching(_MAP_DIGEST, digest, "digest of a map")
    return f"{maps_prefix(run)}/{folder}/{_matching(_MEMBER, file, 'file name of a map')}"


def metrics_prefix(run: str) -> str:
    """Return the prefix of event files and tables of numbers."""
    return f"{run_prefix(run)}/metrics"


def report_prefix(run: str) -> str:
    """Return the prefix of the report, whose first page is index.html."""
    return f"{run_prefix(run)}/report"


# --- names on AWS ---
def default_bucket_name(project: str, account_id: str, region: str) -> str:
    """Return the bucket used when none is set: bucket names are global, so account and region are in it."""
    return f"{project}-{account_id}-{region}"


def bucket_mark(project: str, *, created: bool) -> str:
    """Return the value of the tag of a bucket: made by the project, or one of somebody that it may use."""
    return f"{'created' if created else 'shared'}:{project}"


def lifecycle_rule_id(project: str, prefix: str) -> str:
    """Return the ID of the project's lifecycle rule for one of its prefixes."""
    return f"{project}-training-{prefix.rstrip('/')}"


def wandb_parameter_name(project: str) -> str:
    """Return the SSM parameter (SecureString) that holds the Weights & Biases key."""
    return f"/{project}/wandb-api-key"


def instance_policy_name(project: str, region: str) -> str:
    """Return the IAM policy that says what an instance may do; IAM knows no regions, so the name does."""
    return f"{project}.{region}.instance"


def people_policy_name(project: str, region: str, kind: str) -> str:
    """Return the IAM policy of people; kind: train | setup | bake."""
    return f"{project}.{region}.{kind}"


def run_role_name(project: str, region: str, run: str) -> str:
    """Return the IAM role, and instance profile, of one run in a region; IAM allows 64 characters.

    Neither project, region nor run holds a dot, so no two of them share a name.
    """
    name = f"{project}.{region}.{check_run_name(run)}"
    return name if len(name) <= 64 else f"{name[:55]}.{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def template_name(project: str, run: str, launch: int) -> str:
    """Return the launch template of one launch of a run."""
    return f"{project}.{check_run_name(run)}.{launch}"


def security_group_name(project: str) -> str:
    """Return the security group of the project's instances."""
    return f"{project}-training"


def log_group_name(project: str) -> str:
    """Return the CloudWatch log group, used where CloudWatch is switched on."""
    return f"/{project}/training"


# --- reading names back ---
def parse_run(key: str) -> str:
    """Return the run that a key belongs to. DataError if it belongs to none."""
    parts = key.split("/")
    if len(parts) < 2 or parts[0] != RUNS or not _RUN_NAME.fullmatch(parts[1]):
        raise DataError(f"{key!r} is not a key of a run")
    return parts[1]


def is_own_key(key: str) -> bool:
    """Tell whether a key of a bucket is one that the project writes; anything else in it belongs to someone else."""
    return _OWN_KEY.fullmatch(key) is not None


def is_run_prefix(prefix: str) -> bool:
    """Tell whether a prefix with a closing slash is that of a run: what else is below runs/ is not ours."""
    parts = prefix.split("/")
    return len(parts) == 3 and parts[0] == RUNS and bool(_RUN_NAME.fullmatch(parts[1]))


def parse_checkpoint(name_or_key: str) -> CheckpointId:
    """Return the checkpoint that a prefix, or any key below it, names. DataError if there is none."""
    parts = name_or_key.rstrip("/").split("/")
    if len(parts) > 1:
        parse_run(name_or_key)
        if len(parts) < 4 or parts[2] != "checkpoints":
            raise DataError(f"{name_or_key!r} is not a key of a checkpoint")
    found = _CHECKPOINT.fullmatch(parts[3] if len(parts) > 1 else parts[0])
    if found is None:
        raise DataError(f"{name_or_key!r} names no checkpoint: <step>-<epoch>-<uuid> expected")
    return CheckpointId(int(found["step"]), int(found["epoch"]), found["uuid"])


def parse_segment_key(key: str) -> SegmentId:
    """Return the replay segment that a full key names. DataError if it names none."""
    parse_run(key)
    parts = key.split("/")
    epoch = _EPOCH.fullmatch(parts[3]) if len(parts) == 6 and parts[2] == "replay" else None
    name = _SEGMENT.fullmatch(parts[-1])
    if epoch is None or name is None or not _NAME.fullmatch(parts[4]):
        raise DataError(f"{key!r} names no replay segment")
    first, last = int(name["first"]), int(name["last"])
    if last < first:
        raise DataError(f"{key!r} is a replay segment that ends before it begins")
    return SegmentId(int(epoch["epoch"]), parts[4], first, last, name["sha256"])


def parse_policy_step(key: str) -> int:
    """Return the timestep of a policy's key. DataError if it is none."""
    found = _POLICY.search(key)
    if found is None:
        raise DataError(f"{key!r} is not the key of a policy")
    return int(found["step"])


def _matching(pattern: re.Pattern[str], value: str, what: str) -> str:
    if pattern.fullmatch(value):
        return value
    raise DataError(f"{value!r} is not a {what} ({pattern.pattern})")
