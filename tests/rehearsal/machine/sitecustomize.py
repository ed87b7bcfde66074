"""A container has no DMI: answer the one question by which cloud-init recognises EC2, and so asks with tokens."""

import builtins
import io

_open = builtins.open
_UUID = "ec2e1916-9099-7caf-fd21-012345abcdef"


def _with_uuid(file, mode="r", *arguments, **options):
    if file == "/sys/hypervisor/uuid":
        return io.BytesIO(_UUID.encode()) if "b" in mode else io.StringIO(_UUID)
    return _open(file, mode, *arguments, **options)


builtins.open = _with_uuid
