"""Words that a reader must look up stay out: names that were replaced, and prose words with a plainer equivalent.

A budget is the most occurrences outside tests. It was set to a tenth of the count before the words were replaced; a
word in its standard sense (patience of early stopping, a lie) needs a more exact pattern here, not a higher budget.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
LOOKED_AT = ("training", "docs", "ansible", "packer")
FILES = ("launch.py", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "config.example.yaml")
# Figures and what was tried; pages that a program writes; data.
LEFT_OUT = ("docs/notes/", "docs/permissions.md", "docs/commands.md")
TEXTS = {".py", ".md", ".yml", ".yaml", ".j2", ".hcl", ".mk", ".sh", ".cfg", ".txt", ".toml", ""}
# A renamed setting keeps its old name, and the CHANGELOG says both.
RENAMED = re.compile(r"formerly=|→")


class Word(NamedTuple):
    """A pattern, what to write instead, the most occurrences, and where it is looked for."""

    pattern: str
    instead: str
    budget: int = 0
    below: str = ""


PROSE = (
    Word(
        r"(?i)\bbeside (?:the|a|an|it|its|this|that|those|them|what|their|every|each|torch)\b",
        "next to, and, except, during",
        7,
    ),
    Word(r"(?i)\bnobody\b", "no user, no car, or the passive", 6),
    Word(r"(?i)\b(?:go|goes|going|went) on\b", "continue", 5),
    Word(r"(?i)\blies?\b", "is, are", 5),
    Word(r"(?i)\banew\b", "again", 3),
    Word(r"(?i)\byardsticks?\b", "baselines", 1),
    Word(r"(?i)\bmanners?\b", "options"),
    Word(r"(?i)\bpatience\b", "waiting, reporter"),
    Word(r"(?i)\bheritage\b", "warm start"),
    Word(r"(?i)\bheard\b", "handled; not ignored", 1),
    Word(r"(?i)\bcrowned\b", "promoted"),
    Word(r"(?i)\baveraged policy\b", "EMA policy"),
    Word(r"(?i)\btrouble\b", "error", 1),
    Word(
        r"Which capacity; same cap|Or before it can cost more|The fleet ends after this",
        "the option's effect",
    ),
    Word(
        r'"Do not ask\."|Do not follow the start|Tell how runs are|made from the time', "the option's effect"
    ),
    Word(r"Do it; without it|the run says no|a wrong word or setting", "the option's effect"),
    Word(
        r"damage is believed when seen twice|lives the time after it again|Who would rather not", "a sentence"
    ),
)
FILE_NAMES = (
    Word(
        r"\b(?:manner|patience|heritage|keeper|season|closing|contestants|victim|bakery|telling)\.py\b",
        "file",
    ),
    Word(
        r"\bcloud/(?:making|ending|look|reaching|site|scope|facts|boot|outcome|stopping|problems|api)\.py\b",
        "file",
    ),
    Word(
        r"\b(?:config_(?:aws|change|env|example|fields|learning|text)|drivers_gap|drivers_pursuit)\b", "file"
    ),
    Word(r"\b(?:trainer_nursery|amazon)\.py\b|\blacks\.sh\b|\breport/(?:collect|facts|record)\.py\b", "file"),
)
NAMES = (
    Word(r"\bManner\b|\bPatience\b", "OutputOptions, WaitReporter"),
    Word(
        r"\btake_over\b|\b_Ancestor\b|\bMEANING\b|\b_check_meaning\b",
        "load_initial_policies, _check_compatible",
    ),
    Word(r"\bmake_(?:role|template|fleet)\b|\bend_leak\b|\bend_traces\b", "create_…, delete_…"),
    Word(r"\bKeeper\b|\bKept\(|\.judge\(|\b_consider\b", "BestPolicyTracker, SelectedPolicy, evaluate"),
    Word(
        r"\b(?:Own|gate|leading)\b",
        "Task, relu_mask, leading_dim",
        below="training/agents/compiled_update",
    ),
    Word(
        r"\b(?:pull|with_torch|slope|Squashed)\b",
        "imitation_scale, step_eager, dtanh",
        below="training/agents",
    ),
    Word(
        r"\bFrozen\b|\bself\.generations\b|\bContest\b|\badmit\(",
        "PolicySnapshot, snapshots, PromotionTest, add",
    ),
    Word(
        r"\b(?:Verdict|Bouts|_meet|_holds|class Races)\b",
        "PromotionResult, MatchFormat",
        below="training/evaluation",
    ),
    Word(
        r"\bseason_of\b|\bSeason\b|\bOverTime\b|\bCourse\b|\bDriven\b",
        "Tournament, EvalTrack, DriverController",
    ),
    Word(r"\bContestant\b|\.mind\b", "Entrant, controller", 1),
    Word(r"\b_reach\b|\bWay\b|\bSite\b|\bScope\b|\bFacts\b", "connect, CommandContext, Project, RunStatus"),
    Word(r"\bFRUITLESS_\w+", "MAX_STARTS_WITHOUT_PROGRESS"),
    Word(r"\b(?:Absent|Present|Denied|Unanswered|NoAccess)\b", "NotFound, AlreadyExists, AccessDenied"),
    Word(r"\bBoundary\b|\bof_all\b|\bbefore_the_first_step\b", "StepHook, aggregate, interruptible_setup"),
    Word(r"\bOrigin\b|\bNEWEST\b|\bend_by\b|\b_went_back_already\b", "ResumePoint, LATEST, record_failure"),
    Word(
        r"\bhas_any\b|\bbreak_off\b|\bfinals\b|\bcut_one\b|\bforget_old\b|\bcontinue_elsewhere\b",
        "can_sample",
    ),
    Word(r"\bTeam\b|\bStack\b|\bAtlas\b|\bdeclaring\b|\bLineage\b", "BatchedAgents, StackedMlp, TrackArrays"),
    Word(r"\bContents\(|\bsay_trouble\b|class Over\b|\braise Over\b", "CheckpointData, report_error"),
    Word(r"\bdef told\b|\.told\b|^ +told: str", "message, explanation"),
    Word(r"\bpython -m training warm\b", "precompile"),
)
SIDS = (
    Word(
        r"\b(?:AskWhatOneMayDo|BeReachedBySessionManager|GiveItThePolicy|HandOverRunRole|LookAround|EndOwn|InNetwork|SeeBucket)\b",
        "SimulatePolicy, SessionManager, AttachInstancePolicy, PassRunRole, DescribeEc2, DeleteOwnResources",
    ),
)
SETTINGS = (
    Word(r"\bguide\.(?:driver|weight|timesteps|noise)\b", "imitation.*"),
    Word(r"\bcontact_ends\b|\bvictims_race_on\b", "terminate_at_fault_contact, hit_cars_continue"),
    Word(
        r"\bone_agent\b|\bchampions_from\b|multi_agent\.league\.(?:live|pool|interval)\b",
        "self_fraction, snapshot_fraction, …",
    ),
    Word(r"\blearning_rate_(?:from|timesteps)\b", "lr_decay_start, lr_decay_timesteps"),
    Word(r"\baverage_tau\b", "policy_ema_tau"),
    Word(r"\baws_region\b", "aws.region"),
)
WORDS = (*PROSE, *FILE_NAMES, *NAMES, *SIDS, *SETTINGS)


def lines() -> Iterator[tuple[str, int, str]]:
    """Yield path, number and text of every line that is looked at."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *LOOKED_AT, *FILES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for path in listed:
        if path.startswith(LEFT_OUT) or Path(path).suffix not in TEXTS:
            continue
        for number, text in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1):
            yield path, number, text


@pytest.fixture(scope="module")
def all_lines() -> list[tuple[str, int, str]]:
    found = list(lines())
    assert len({path for path, _, _ in found}) > 300
    return found


def occurrences(word: Word, texts: list[tuple[str, int, str]]) -> list[str]:
    """Return file:line: text of each occurrence; a line that names a renamed setting is none."""
    pattern = re.compile(word.pattern)
    return [
        f"{path}:{number}: {text.strip()}"
        for path, number, text in texts
        if path.startswith(word.below)
        for _ in pattern.finditer(text)
        if not (word in SETTINGS and RENAMED.search(text))
    ]


@pytest.mark.parametrize("word", WORDS, ids=[word.pattern for word in WORDS])
def test_a_word_stays_within_its_budget(word: Word, all_lines: list[tuple[str, int, str]]) -> None:
    found = occurrences(word, all_lines)
    listed = "\n".join(found)
    assert len(found) <= word.budget, (
        f"{len(found)} occurrences, {word.budget} allowed; write {word.instead}:\n{listed}"
    )


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("the run goes on", "go on"),
        ("stands beside it in the map", "beside"),
        ("runs lie in runs/", "lie"),
        ("begins anew", "anew"),
        ("class Keeper:", "Keeper"),
        ("guide.driver: none", "guide"),
        ('allow("LookAround", "*")', "LookAround"),
    ],
)
def test_an_old_word_would_be_counted(text: str, pattern: str) -> None:
    found = [word for word in WORDS if occurrences(word, [("training/x.py", 7, text)])]
    assert found, pattern
    assert occurrences(found[0], [("training/x.py", 7, text)]) == [f"training/x.py:7: {text}"]


@pytest.mark.parametrize(
    "text",
    ["first, beside = group", "if beside >> i & 1:", 'x = f(formerly="contact_ends")', "np.where(beside)"],
)
def test_a_variable_and_an_old_name_of_a_setting_are_not_counted(text: str) -> None:
    assert [word for word in WORDS if occurrences(word, [("training/x.py", 1, text)])] == []
