"""The same run without a cloud: the same settings, image and code in one go, for its final checkpoint to compare."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

from tests.cloud.fake_aws import ROOT
from tests.rehearsal import laptop
from tests.rehearsal.machine import podman
from tests.rehearsal.network import PREFIX
from training import layout
from training.cloud.launch.code_bundle import make_bundle
from training.sim.track.names import packed_parts
from training.store.checkpoint import load
from training.store.open import open_store
from training.store.storage import Storage


class Reference:
    """One uninterrupted training in a container of the baked root, beside the story."""

    def __init__(self, image: str, folder: Path) -> None:
        self._image, self._folder = image, folder
        self._name = f"{PREFIX}{os.getpid()}-reference"
        self._run = self._kind = ""

    def start(self, storage: Storage, run: str) -> None:
        """Begin the training with a run's settings, at low priority."""
        settings = json.loads(storage.get(layout.config_key(run), max_bytes=1 << 20).data)
        self._run, self._kind = run, settings["training"]["training_type"]
        # The end needs neither pictures nor a service; where the store is belongs to the cloud.
        settings["training"] |= {"report": False, "run_name": run}
        settings["wandb"]["mode"] = "disabled"
        settings.pop("aws")
        settings["env"]["tracks"] = [self._map(storage, name) for name in settings["env"]["tracks"]]
        app = self._folder / "app"
        with tarfile.open(fileobj=io.BytesIO(make_bundle(ROOT).data)) as archive:
            archive.extractall(app)  # noqa: S202 - packed in the line above
        (self._folder / "config.json").write_text(json.dumps(settings), encoding="utf-8")
        (self._folder / "store").mkdir()
        command = (
            "set -a; . /etc/f1tenth/python.env; exec nice -n 5 /opt/f1tenth/venv/bin/python -m training train"
        )
        podman(
            "run", "--detach", "--name", self._name, "--network=none", "--workdir=/opt/f1tenth/app",
            f"--volume={app}:/opt/f1tenth/app:ro", f"--volume={self._folder}:/reference",
            "--env=PYTHONDONTWRITEBYTECODE=1", self._image,
            "/bin/sh", "-c", f"{command} --config /reference/config.json --store /reference/store",
        )  # fmt: skip

    def _map(self, storage: Storage, name: str) -> str:
        """Return what a track is called here: of a map that the run carries the path of its yaml."""
        parts = packed_parts(name)
        if parts is None:
            return name
        stem, digest = parts
        folder = self._folder / "maps" / digest
        folder.mkdir(parents=True, exist_ok=True)
        for entry in storage.list(f"{layout.maps_prefix(self._run)}/{digest}/"):
            storage.get_to_file(entry.key, folder / Path(entry.key).name, max_bytes=1 << 20)
        return f"/reference/maps/{digest}/{stem}.yaml"

    def digests(self) -> dict[str, str]:
        """Wait for its end and return part → sha256 of its final checkpoint."""
        status = podman("wait", self._name).strip()
        said = self._said()
        assert status == "0", f"the uninterrupted run ended with {status}:\n{said[-3000:]}"
        return laptop.digests(load(open_store(str(self._folder / "store")), self._run, self._kind))

    def remove(self) -> None:
        """Remove the container, whatever it is doing; what it said stays in the folder."""
        self._said()
        podman("rm", "--force", "--time", "0", self._name, check=False)

    def _said(self) -> str:
        environment = {**os.environ, "CONTAINERS_CONF": str(ROOT / "tests" / "image" / "containers.conf")}
        done = subprocess.run(
            ["podman", "logs", self._name],
            check=False, capture_output=True, text=True, env=environment,
        )  # fmt: skip
        if done.returncode == 0:
            (self._folder / "reference.log").write_text(done.stdout + done.stderr, encoding="utf-8")
        return done.stdout + done.stderr
