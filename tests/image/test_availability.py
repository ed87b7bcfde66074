"""The bake's first question names everything that a role takes from outside: read from the roles' own files."""

from __future__ import annotations

import importlib
import re
from typing import Any

import jinja2.nativetypes
import pytest
import yaml

from tests.support.role_tasks import ANSIBLE, ROLES, every_task

INSTALLERS = re.compile(r"(package|apt_repository|apt_key|deb822_repository|apt_rpm|snap|dnf|yum|pip)$")
BY_HAND = re.compile(
    r"(?<![\w-])(apt|apt-get|dpkg|snap) (?!.*--simulate)[^|;&]*(?<![\w-])(install|-i|--install)\b"
)
# What fetches, and the argument that names the address.
FETCHERS = {"ansible.builtin.get_url": "url", "ansible.builtin.git": "repo"}


def play() -> dict[str, Any]:
    (play,) = yaml.safe_load((ANSIBLE / "site.yml").read_text(encoding="utf-8"))
    return dict(play)


def question() -> dict[str, str]:
    """The variables that the bake's first task hands to the availability role."""
    (first,) = play()["pre_tasks"]
    assert first["ansible.builtin.import_role"] == {"name": "availability"}
    return dict(first["vars"])


def role_variables(role: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for kind in ("defaults", "vars"):
        path = ANSIBLE / "roles" / role / kind / "main.yml"
        found |= yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def test_every_package_that_a_role_installs_is_in_the_question() -> None:
    """apt is handed the role's variable whole, and that variable is part of the question."""
    installs = [(role, t["ansible.builtin.apt"]) for role, t in every_task() if "ansible.builtin.apt" in t]
    installs = [
        (role, apt)
        for role, apt in installs
        if apt.get("state") != "absent" and ("name" in apt or "deb" in apt)
    ]
    assert len(installs) >= 4
    for role, apt in installs:
        if "deb" in apt:  # fetched by the task before it
            assert role_variables(role).get(f"{role}_downloads"), (
                f"{role} installs {apt['deb']} without asking for it"
            )
            continue
        assert apt["name"] == f"{{{{ {role}_apt_packages }}}}", f"{role} installs {apt['name']}"
        assert f"{role}_apt_packages" in question()["availability_packages"]


def test_every_download_is_in_the_question() -> None:
    fetches = [
        (role, module, task[module][key])
        for role, task in every_task()
        for module, key in FETCHERS.items()
        if module in task
    ]
    assert len(fetches) >= 3
    for role, module, url in fetches:
        (variable,) = re.findall(r"\w+", url)
        assert variable in role_variables(role)[f"{role}_downloads"], f"{role}: {module} {url}"
        assert f"{role}_downloads" in question()["availability_downloads"]


def test_no_role_installs_in_another_way() -> None:
    """No other package module, no repository added, nothing installed by a command."""
    for role, task in every_task():
        assert [module for module in task if INSTALLERS.search(str(module))] == [], f"{role}: {task['name']}"
        for module in ("ansible.builtin.command", "ansible.builtin.shell"):
            said = str(task.get(module, ""))
            words = re.sub(r"[',\[\]]+", " ", said)
            assert not BY_HAND.search(words), f"{role}: {task['name']}: {said}"


@pytest.mark.parametrize("words", ["apt-get install -qy htop", "dpkg -i agent.deb", "snap install x"])
def test_an_installation_by_hand_would_be_seen(words: str) -> None:
    assert BY_HAND.search(words)


@pytest.mark.parametrize(
    "words", ["apt-get install --simulate x", "dpkg-query --show x", "apt-cache search install"]
)
def test_a_question_is_no_installation(words: str) -> None:
    assert not BY_HAND.search(words)


def test_the_question_comes_first_and_in_whole_bakes_only() -> None:
    """Applied by a role's tag, as on a running instance, nothing else is asked for."""
    (first,) = play()["pre_tasks"]
    assert first["tags"] == ["availability"]
    assert play()["roles"][0]["role"] == "base"


# --- what the question is on Ubuntu ---
def resolved(value: Any, variables: dict[str, Any]) -> Any:
    """Return a value with every template in it filled in, as Ansible does."""
    if isinstance(value, dict):
        return {resolved(k, variables): resolved(v, variables) for k, v in value.items()}
    if isinstance(value, list):
        return [resolved(item, variables) for item in value]
    if not isinstance(value, str) or "{{" not in value:
        return value
    needed = {name for name in re.findall(r"[a-z_]\w*", value) if name in variables}
    environment = jinja2.nativetypes.NativeEnvironment(undefined=jinja2.StrictUndefined)
    return environment.from_string(value).render(
        {name: resolved(variables[name], variables) for name in needed}
    )


def asked_for(distribution: str, **settings: object) -> tuple[list[str], dict[str, str]]:
    """Return the packages and versions of the question on a distribution."""
    site = yaml.safe_load((ANSIBLE / "group_vars" / "all.yml").read_text(encoding="utf-8"))
    variables = {name: value for role in ROLES for name, value in role_variables(role.name).items()}
    variables |= {**site, **settings, "ansible_facts": {"distribution": distribution}}
    packages = resolved(question()["availability_packages"], variables)
    return list(packages), dict(resolved(question()["availability_versions"], variables))


def test_the_question_on_ubuntu_names_driver_tools_and_base() -> None:
    packages, versions = asked_for("Ubuntu")
    assert {
        "linux-modules-nvidia-580-server-open-aws", "nvidia-headless-no-dkms-580-server-open",
        "nvidia-utils-580-server", "nvidia-compute-utils-580-server", "nvidia-modprobe", "chrony", "git", "curl",
        "python3-venv",
    } <= set(packages)  # fmt: skip
    assert versions == {"nvidia-utils-580-server": "580."}
    assert "g++" not in packages


def test_the_question_follows_the_settings() -> None:
    without, versions = asked_for("Debian", nvidia_enabled=False)
    assert [name for name in without if "nvidia" in name] == []
    assert versions == {}
    assert {"g++", "python3-dev", "ninja-build"} <= set(asked_for("Ubuntu", python_env_install_nvcc=True)[0])
    assert "nvidia-utils-999-server" in asked_for("Ubuntu", nvidia_driver_branch="999")[0]


# --- what Ansible's modules need on the machine itself ---
# What a module of Ansible asks for on the machine, and why it is there.
ON_THE_MACHINE = {
    "python3-apt": "in Ubuntu's image; the apt module installs it where it is missing",
    "aptitude (before 2.4)": "for upgrades alone, which no role asks for",
    "git>=1.7.1 (the command line tool)": "python_env_apt_packages",
    "A system managed by systemd.": "Ubuntu",
}


def needs(module: str) -> set[str]:
    """Return what a module's own documentation says that the machine must have."""
    source = importlib.import_module(f"ansible.modules.{module.removeprefix('ansible.builtin.')}")
    return set(yaml.safe_load(source.DOCUMENTATION).get("requirements") or [])


def test_no_role_uses_a_module_whose_library_the_machine_lacks() -> None:
    """deb822_repository needs python3-debian, which Ubuntu's image has not."""
    pytest.importorskip("ansible.modules", reason="Ansible is not installed: make lint-ansible installs it")
    modules = {str(name) for _, task in every_task() for name in task if str(name).startswith("ansible.")}
    assert len(modules) > 15
    assert {(m, need) for m in modules for need in needs(m) if need not in ON_THE_MACHINE} == set()
    assert needs("ansible.builtin.deb822_repository") - set(ON_THE_MACHINE)
