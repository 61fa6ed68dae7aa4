"""Where a store had better not be: on a file system of another machine, whose locks cannot be relied on."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

MOUNTS = Path("/proc/self/mounts")
NETWORK = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|afs|ceph|lustre|glusterfs|beegfs|gpfs|fuse\.(sshfs|glusterfs|s3fs|rclone)"
)


def network_file_system(location: Path) -> str | None:
    """The kind of network file system that the file is on; ``None`` where it is on none, or nobody says."""
    found: tuple[Path, str] | None = None
    with suppress(OSError):
        for line in MOUNTS.read_text("utf-8", "surrogateescape").splitlines():
            _, point, kind, *_ = line.split(" ")
            folder = Path(re.sub(r"\\(\d{3})", lambda code: chr(int(code[1], 8)), point))
            if location.resolve().is_relative_to(folder) and (found is None or folder.is_relative_to(found[0])):
                found = folder, kind  # a later mount at the same place lies over the earlier
    return found[1] if found and NETWORK.fullmatch(found[1]) else None


def warning(location: Path, kind: str) -> str:
    """What was seen, why it matters, what to try."""
    return (
        f"the store {location} is on a network file system ({kind}), whose locks often do not hold: two processes may "
        "damage it. Try: --store on a disk of this machine, and copy it afterwards"
    )
