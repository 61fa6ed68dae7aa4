"""File systems of a test's own: mounted in a process that sees them alone, where the kernel lets an ordinary user."""

import shutil
import subprocess

import pytest

UNSHARE = ("unshare", "--map-root-user", "--mount")


def need_mounts(folder):
    """Leave the test out, and say why, where nothing can be mounted."""
    tried = [*UNSHARE, "mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if shutil.which("unshare") is None or subprocess.run(tried, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here: unshare and user namespaces are needed")
