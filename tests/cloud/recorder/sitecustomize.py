"""Write down every AWS call that the product makes while a test runs: one JSON line a call.

Python itself loads this file in every process that a test starts, because its folder is on PYTHONPATH; pytest's own
process calls `install`. It wraps the one method of botocore that every client's call passes through, once botocore is
imported, and writes only where F1TENTH_RECORD_CALLS names a file. The stack says who makes the call: what a test asks
by itself is left out.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import json
import os
import sys
import threading
from pathlib import Path

VARIABLE = "F1TENTH_RECORD_CALLS"
ROOT = str(Path(__file__).resolve().parents[3]) + os.sep
OWN_PATH = "tests/cloud/recorder/sitecustomize.py"
PRODUCT = ("training/", "packer/", "ansible/", "launch.py")
# What a test calls by itself is no call of the product: it speaks through these alone.
CHANNELS = (
    "training/aws_access/",
    "training/store/",
    "training/cloud/aws/client.py",
    "training/cloud/aws/client.py",
)
# The launcher's modules that run on a machine; the folder training/instance is theirs.
ON_MACHINE = {"finish.py", "boot.py", "identity.py", "imds.py", "log_chunks.py", "outcome.py"}
# What `up` and `down` consist of; `train` asks whether all that `up` makes is there.
SETUP = {"teardown.py", "bucket.py", "bucket_setup.py", "bucket_removal.py", "group_setup.py"}
ASKED_BY_TRAIN = {"missing", "read_tags", "_read", "not_as_asked", "allowed_address"}
UP_AND_DOWN = {("commands.py", "up"), ("down.py", "down"), ("setup.py", "plan"), ("setup.py", "apply")}
# `doctor --probe` asks EC2 whether it would allow what the others do: to be denied is an answer too.
PROBE = "training/cloud/aws/probe.py"
# Bodies and scripts: long, and nothing that IAM looks at.
LEFT_OUT = {"Body", "UserData", "PolicyDocument", "AssumeRolePolicyDocument", "Policy", "MetricData"}


_INHERITED = threading.local()  # the frames of whoever handed this thread its work


class _Finder(importlib.abc.MetaPathFinder):
    """Patch botocore.client when it is imported; nothing is imported for it."""

    def find_spec(self, name, *_):
        if name != "botocore.client":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def run_and_patch(module):
            run(module)
            _patch(module)

        spec.loader.exec_module = run_and_patch
        return spec


def install():
    """Wrap botocore's calls, now or when it is imported; once a process."""
    if "botocore.client" in sys.modules:
        _patch(sys.modules["botocore.client"])
    elif not any(type(one).__name__ == "_Finder" for one in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


def _patch(module):
    send = module.BaseClient._make_api_call
    if getattr(send, "records", False):
        return

    def record(client, operation, params):
        file = os.environ.get(VARIABLE)
        by = who(_product_frames()) if file else None
        if file and by:
            service = client.meta.service_model.service_name
            line = {"by": by, "service": service, "operation": operation, "params": _trimmed(params)}
            with Path(file).open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(line, default=str) + "\n")
        return send(client, operation, params)

    record.records = True
    module.BaseClient._make_api_call = record
    _follow_executors()


def _follow_executors():
    """Let the threads of an executor know who asked: boto3 moves objects in threads of its own."""
    from concurrent.futures import ThreadPoolExecutor

    submit = ThreadPoolExecutor.submit

    def submit_with_frames(self, work, /, *args, **kwargs):
        frames = _product_frames()

        def run():
            _INHERITED.frames = frames
            return work(*args, **kwargs)

        return submit(self, run)

    ThreadPoolExecutor.submit = submit_with_frames


def _product_frames():
    """Return the file, below the project's root, and the function of each frame of the product, outermost first.

    None where a test makes the call by itself: its frame is nearer to the call than any of the product.
    """
    frames, frame = [], _caller_of_the_client(sys._getframe(2))
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(ROOT):
            path = path[len(ROOT) :]
            if path.startswith("tests/") and path != OWN_PATH and not frames:
                return []
            if path.startswith(PRODUCT) and (frames or not path.startswith(CHANNELS)):
                frames.append((path, frame.f_code.co_name))
        frame = frame.f_back
    return [*getattr(_INHERITED, "frames", ()), *frames[::-1]]


def _caller_of_the_client(frame):
    """Return the frame that calls a client's method: a test that plants faults stands between it and here."""
    begin = frame
    while frame is not None:
        code = frame.f_code
        if code.co_name == "_api_call" and code.co_filename.endswith("botocore/client.py"):
            return frame.f_back
        frame = frame.f_back
    return begin


def who(frames):
    """Return whose policy a call is made under: bake, instance, setup or daily; None for a call of the test itself."""
    if not frames or any(path == PROBE for path, _ in frames):
        return None
    if frames[0][0].startswith("packer/"):
        return "bake"
    if _is_machines(frames):
        return "instance"
    for path, name in frames:
        file = path.rpartition("/")[2]
        if (file in SETUP and name not in ASKED_BY_TRAIN) or (file, name) in UP_AND_DOWN:
            return "setup"
    return "daily"


def _is_machines(frames):
    path = frames[0][0]
    if path == "training/__main__.py":
        return any(name == "train" for _, name in frames)  # its other commands read a store from a laptop
    if path.startswith("training/cloud/"):
        return path.rpartition("/")[2] in ON_MACHINE
    return path.startswith(("training/", "ansible/roles/")) and not path.startswith("training/report/")


def _trimmed(params):
    if isinstance(params, dict):
        return {key: _trimmed(value) for key, value in params.items() if key not in LEFT_OUT}
    if isinstance(params, (list, tuple)):
        return [_trimmed(value) for value in params]
    return params


if os.environ.get(VARIABLE):
    install()
