"""Settings: where a value comes from, what is refused in which words, and a true example file."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from training.config import PRESETS, Config, load_config
from training.config.example import example_yaml
from training.config.resume import check_league
from training.config.text import flatten, legal_values, walk
from training.errors import ConfigurationError, UsageError

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "config.example.yaml"


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(*overrides: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_config(None, overrides)
    return str(caught.value)


# --- where a value comes from ---
def test_the_defaults_are_legal_and_those_that_users_know() -> None:
    config = Config()
    # Where they are not stable-baselines3's, docs/adr/0006 has what was measured.
    assert (config.sac.learning_rate, config.sac.buffer_size, config.sac.batch_size) == (1e-3, 1_000_000, 128)
    assert (config.training.save_frequency, config.training.save_interval_s) == (50_000, 300)
    assert Config.from_json_dict(config.to_json_dict()) == config


def test_the_settings_of_a_run_from_before_are_read_without_those_that_are_gone():
    """In a file of the user's they are told as unknown."""
    data = Config().to_json_dict()
    data["evaluation"]["interval_s"] = 0.0
    assert Config.from_json_dict(data) == Config()
    with pytest.raises(ConfigurationError, match=r"evaluation.interval_s"):
        load_config(None, ["evaluation.interval_s=0"])


def test_a_setting_is_read_by_its_former_name_and_only_once(tmp_path: Path) -> None:
    assert load_config(None, ["aws.aws_region=eu-west-1"]).aws.region == "eu-west-1"
    assert load_config(settings_file(tmp_path, "aws: {aws_region: eu-west-1}\n")).aws.region == "eu-west-1"
    before = Config().to_json_dict()
    before["aws"]["aws_region"] = before["aws"].pop("region")
    assert Config.from_json_dict(before) == Config()
    with pytest.raises(ConfigurationError, match="the same setting"):
        load_config(settings_file(tmp_path, "aws: {region: us-east-1, aws_region: eu-west-1}\n"))


RENAMED = {
    f"{key.rpartition('.')[0]}.{former}" if "." not in former else former: key
    for key, field in walk(Config)
    if (former := (field.json_schema_extra or {}).get("formerly"))
}
NO_DEFAULT = {"guide.driver": "pure_pursuit", "aws.aws_region": "eu-west-1"}


@pytest.mark.parametrize("former", RENAMED)
def test_every_renamed_setting_is_read_by_its_former_name_everywhere(
    former: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = RENAMED[former]
    default = dict(walk(Config))[key].default
    value = NO_DEFAULT.get(former, (not default) if isinstance(default, bool) else default)
    text = f"{former}={json.dumps(value)}"
    expected = load_config(None, [f"{key}={json.dumps(value)}"])
    assert capsys.readouterr().err == ""
    assert load_config(None, [text]) == expected
    note = f"note: the setting {former} is called {key} now\n"
    assert capsys.readouterr().err == note
    *groups, name = former.split(".")
    nested: object = {name: value}
    for group in reversed(groups):
        nested = {group: nested}
    assert load_config(settings_file(tmp_path, json.dumps(nested))) == expected
    assert capsys.readouterr().err == note
    of_a_run = dict(flatten(Config, Config.from_json_dict(nested).to_json_dict(), "a run"))
    assert of_a_run[key].value == flatten(Config, expected.to_json_dict(), "")[key].value
    assert capsys.readouterr().err == "", "what a run has stored is no news to anybody"


@pytest.mark.parametrize(("before", "tyres"), [("true", "lateral_circle"), ("false", "linear")])
def test_the_friction_circle_of_before_is_a_kind_of_tyres(before: str, tyres: str) -> None:
    """In a user's words and in a run's settings; the switch had two values, the choice of tyres has three."""
    assert load_config(None, [f"env.friction_circle={before}"]).env.tyres == tyres
    data = Config().to_json_dict()
    del data["env"]["tyres"]
    data["env"]["friction_circle"] = json.loads(before)
    assert Config.from_json_dict(data).env.tyres == tyres
    with pytest.raises(ConfigurationError, match="linear"):
        load_config(None, ["env.friction_circle=sticky"])


def test_a_run_from_before_grids_could_be_chosen_goes_on_in_single_file():
    data = Config().to_json_dict()
    assert Config.from_json_dict(data).env.race.grid == "either"
    del data["env"]["race"]["grid"]
    assert Config.from_json_dict(data).env.race.grid == "single_file"


def test_a_run_from_before_thin_walls_held_goes_on_with_the_beams_it_learnt_with():
    data = Config().to_json_dict()
    assert Config.from_json_dict(data).env.solid_thin_walls
    del data["env"]["solid_thin_walls"]
    assert not Config.from_json_dict(data).env.solid_thin_walls


def test_the_file_wins_over_the_preset_and_set_wins_over_the_file(tmp_path: Path) -> None:
    path = settings_file(tmp_path, "training:\n  total_timesteps: 7\n  seed: 3\n")
    config = load_config(path, ["training.seed=4"], "local")
    assert (config.training.total_timesteps, config.training.seed) == (7, 4)
    assert config.training.max_minutes == PRESETS["local"]["training.max_minutes"]


@pytest.mark.parametrize("preset", ["local", "cloud"])
def test_every_preset_is_legal_and_names_itself(preset: str) -> None:
    config = load_config(None, [f"training.preset={preset}"])
    assert config.training.preset == preset


def test_the_preset_of_the_command_line_wins_over_that_of_the_file(tmp_path: Path) -> None:
    path = settings_file(tmp_path, "training: {preset: local}")
    config = load_config(path, (), "cloud")
    assert config.training.preset == "cloud"
    assert config.training.max_minutes is None


def test_the_cloud_preset_trains_a_million_steps() -> None:
    assert load_config(None, (), "cloud").training.total_timesteps == 1_000_000


def test_an_empty_file_and_an_empty_group_change_nothing(tmp_path: Path) -> None:
    assert load_config(settings_file(tmp_path, "")) == load_config(None)
    assert load_config(settings_file(tmp_path, "training:\nsac: {}\n")) == load_config(None)


def test_dotted_keys_may_stand_in_the_file(tmp_path: Path) -> None:
    assert load_config(settings_file(tmp_path, "env.reward.progress: 2")).env.reward.progress == 2


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("sac.learning_rate=3e-4", 3e-4),
        ("sac.learning_rate=.5", 0.5),
        ("sac.buffer_size=1e6", 1_000_000),
        ("sac.buffer_size=1_000_000", 1_000_000),
        ("sac.net_arch=[64, 32]", (64, 32)),
        ("sac.ent_coef=auto", "auto"),
        ("sac.ent_coef=0.1", 0.1),
        ("training.max_minutes=null", None),
        ("training.run_name=2026-01-01", "2026-01-01"),
        ("training.mixed_precision=true", True),
        ("env.tracks=[generated-1, maps/oval.yaml]", ("generated-1", "maps/oval.yaml")),
        ("env.randomisation.mass_factor=[0.9, 1.1]", (0.9, 1.1)),
        ("aws.endpoints.s3=http://127.0.0.1:8333", "http://127.0.0.1:8333"),
    ],
)
def test_a_value_is_read_as_a_person_means_it(override: str, value: object) -> None:
    found: object = load_config(None, [override])
    for name in override.partition("=")[0].split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value)


def test_settings_survive_json_exactly() -> None:
    config = load_config(
        None, ["sac.net_arch=[7]", "env.randomisation.friction_factor=[0.5,1]", "aws.max_hours=0.1"]
    )
    assert Config.from_json_dict(json.loads(json.dumps(config.to_json_dict()))) == config


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Config().training.seed = 1  # type: ignore[misc]


def test_one_car_drives_unless_cars_learn_together() -> None:
    assert load_config(None, ["training.num_agents=4"]).num_cars == 1
    assert load_config(None, ["training.num_agents=4", "training.training_type=sac_multiagent"]).num_cars == 4


# --- what is refused, and in which words ---
@pytest.mark.parametrize(
    ("unknown", "nearest"),
    [
        ("sac.learningrate", "sac.learning_rate"),
        ("training.total_timestep", "training.total_timesteps"),
        ("total_timesteps", "training.total_timesteps"),
        ("env.learning_rate", "sac.learning_rate"),
        ("trainig", "training"),
        ("env.rewards.progress", "env.reward.progress"),
        ("max_hours", "aws.max_hours"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(unknown: str, nearest: str) -> None:
    message = refusal(f"{unknown}=1")
    assert f"{unknown} (--set) is not a setting. Did you mean {nearest}?" in message


def test_an_unknown_key_in_a_file_is_named_whole_and_with_its_file(tmp_path: Path) -> None:
    path = settings_file(tmp_path, "env:\n  reward:\n    progres: 1\n")
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    assert f"env.reward.progres ({path}) is not a setting. Did you mean env.reward.progress?" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("env.num_envs=0", "env.num_envs = 0 (--set) is not legal. Legal: integer, 1 to 65536"),
        ("env.num_envs=1.5", "env.num_envs = 1.5 (--set) is not legal. Legal: integer, 1 to 65536"),
        ("env.num_envs=true", "env.num_envs = True (--set) is not legal. Legal: integer, 1 to 65536"),
        ("sac.gamma=fast", "sac.gamma = 'fast' (--set) is not legal. Legal: number, 0 to 1"),
        ("sac.gamma=.nan", "sac.gamma = nan (--set) is not legal. Legal: number, 0 to 1"),
        ("sac.learning_rate=0", "sac.learning_rate = 0 (--set) is not legal. Legal: number, above 0 to 1"),
        ("training.num_agents=0", "training.num_agents = 0 (--set) is not legal. Legal: integer, 1 to 64"),
        ("training.num_agents=65", "training.num_agents = 65 (--set) is not legal. Legal: integer, 1 to 64"),
        ("training.device=gpu", "training.device = 'gpu' (--set) is not legal. Legal: auto | cpu | cuda"),
        ("training.preset=big", "training.preset = 'big' (--set) is not legal. Legal: local | cloud"),
        (
            "training.mixed_precision=1",
            "training.mixed_precision = 1 (--set) is not legal. Legal: true | false",
        ),
        ("training.run_name=../x", "is not legal. Legal: 1 to 48 of a-z, 0-9 and -"),
        ("sac.ent_coef=sometimes", "sac.ent_coef = 'sometimes' (--set) is not legal. Legal: auto | number"),
        (
            "sac.net_arch=[]",
            "sac.net_arch = [] (--set) is not legal. Legal: list of integer, 1 to 4096, not empty",
        ),
        ("sac.net_arch=[64, 0]", "sac.net_arch = [64, 0] (--set) is not legal."),
        (
            "env.tracks=generated-1",
            "env.tracks = 'generated-1' (--set) is not legal. Legal: list of names",
        ),
        (
            "env.randomisation.mass_factor=[2, 1]",
            "env.randomisation.mass_factor = [2, 1] (--set) is not legal.",
        ),
        ("env.min_speed_mps=8", "env: min_speed_mps = 8.0 must be below speed_cap_mps = 8.0"),
        ("aws.open_ports_to=0.0.0.0/0", "aws.open_ports_to = '0.0.0.0/0' (--set) is not legal."),
        ("env=3", "env (--set) = 3 is a group of settings, not a value"),
        ("env.num_envs=", "env.num_envs = None (--set) is not legal."),
    ],
)
def test_an_illegal_value_is_refused_with_what_would_be_legal(override: str, words: str) -> None:
    assert words in refusal(override)


def test_a_batch_must_fit_into_the_buffer() -> None:
    message = refusal("sac.batch_size=1001", "sac.buffer_size=1000")
    assert "sac.batch_size = 1001" in message
    assert "buffer_size = 1000" in message


def test_all_faults_are_told_at_once() -> None:
    message = refusal("sac.gamma=2", "sac.tau=2", "env.beams=2")
    assert message.count("is not legal") == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1", "is not valid YAML"),
        ("- 1", "holds a list, not groups of settings"),
        ("sac:\n  gamma: 0.9\n  gamma: 0.8\n", "'gamma' is given twice (line 3)"),
        ("sac: !!python/object/apply:os.system ['true']", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
    ],
    ids=["torn", "list", "twice", "code", "deep"],
)
def test_a_broken_file_is_refused_with_its_name(tmp_path: Path, text: str, words: str) -> None:
    path = settings_file(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml cannot be read"):
        load_config(tmp_path / "nowhere.yaml")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_config(path)


@pytest.mark.parametrize("override", ["training.seed", "=3", ""])
def test_an_override_without_key_and_value_is_a_usage_error(override: str) -> None:
    with pytest.raises(UsageError, match="no form key=value"):
        load_config(None, [override])


def test_who_begins_with_networks_that_have_learnt_has_no_guide_unless_one_is_set(tmp_path: Path) -> None:
    """It would pull them back to the racing line; a run that has begun keeps its own."""
    begun = "training.init_from=first"
    assert load_config(None, [begun]).imitation.expert == "none"
    assert load_config(None, [begun, "imitation.expert=pure_pursuit"]).imitation.expert == "pure_pursuit"
    assert load_config(None, [begun, "imitation.coef=50"]).imitation.expert == "racing_line"
    assert (
        load_config(settings_file(tmp_path, "training:\n  init_from: null\n")).imitation.expert
        == "racing_line"
    )
    before = load_config(None, [begun, "imitation.expert=racing_line"])
    assert Config.from_json_dict(before.to_json_dict()) == before


def test_the_step_size_falls_to_a_tenth_of_one_that_is_given() -> None:
    for given, end in (
        ([], 1e-4),
        (["sac.learning_rate=0.00001"], 1e-6),
        (["sac.learning_rate=5e-324"], 5e-324),
        (["sac.learning_rate=0.01", "sac.learning_rate_end=null"], None),
        (["sac.learning_rate_end=0.0005"], 5e-4),
    ):
        assert load_config(None, given).sac.learning_rate_end == (None if end is None else pytest.approx(end))
    before = load_config(None).to_json_dict()
    before["sac"].pop("learning_rate_end")
    assert Config.from_json_dict(before).sac.learning_rate_end is None, "a run of before had none"


def test_with_the_physics_of_f1tenth_gym_come_its_tyres() -> None:
    assert load_config(None).env.tyres == "saturating"
    for given in ("env.profile=f1tenth_gym", "env.backend=f1tenth_gym"):
        assert load_config(None, [given]).env.tyres == "linear"
    with pytest.raises(ConfigurationError, match="tyres = saturating: only with profile = training"):
        load_config(None, ["env.profile=f1tenth_gym", "env.tyres=saturating"])


def test_the_settings_for_self_play_are_legal_and_of_one_length() -> None:
    """The step size decays over the second half, to the end; the first champion comes before."""
    config = load_config(Path("docs/self_play.yaml"))
    half_time = config.training.total_timesteps // 2
    assert (config.sac.lr_decay_start, config.sac.lr_decay_timesteps) == (half_time, half_time)
    assert config.multi_agent.league.champions_start < half_time
    assert (config.num_cars, config.num_agents, config.training.max_minutes) == (2, 1, None)
    check_league(config)


# --- the example file ---
def test_the_example_file_is_what_the_settings_write() -> None:
    assert EXAMPLE.read_text(encoding="utf-8") == example_yaml(), (
        "run: python -m training.config.example > config.example.yaml"
    )


def test_the_example_file_changes_nothing_as_it_stands() -> None:
    assert load_config(EXAMPLE) == load_config(None)


def test_the_example_file_uncommented_is_the_defaults(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^( +)#(?=[a-z0-9_]+:)", r"\1", EXAMPLE.read_text(encoding="utf-8"))
    assert load_config(settings_file(tmp_path, text)) == Config()


def test_every_setting_has_a_description_and_says_what_is_legal() -> None:
    for key, field in walk(Config):
        assert field.description, key
        assert legal_values(field), key


def test_every_group_says_what_it_is_about() -> None:
    groups = {type(value) for _, value in Config() if isinstance(value, BaseModel)}
    assert all(group.__doc__ for group in groups)


def test_every_number_has_a_legal_range() -> None:
    unbounded = [key for key, field in walk(Config) if legal_values(field) in ("integer", "number")]
    assert unbounded == []


# --- what reading settings costs ---
def test_settings_and_names_load_without_torch_boto3_and_numpy() -> None:
    code = (
        "import sys, training.config, training.layout;"
        "print(*sorted({'torch', 'boto3', 'botocore', 'numpy', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
