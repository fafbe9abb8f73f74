"""What is downloaded for an image whose Python is not the one that downloads."""

from __future__ import annotations

from e2e.images.wheels import for_python

LOCK = """\
anyio==4.16.0 \\
    --hash=sha256:aa
    # via agentfleet
async-timeout==5.0.1 ; python_full_version < '3.11.3' \\
    --hash=sha256:bb \\
    --hash=sha256:cc
pywin32==312 ; sys_platform == 'win32' \\
    --hash=sha256:dd
tomli==2.3.0 ; python_version < '3.11' \\
    --hash=sha256:ee
"""


def test_what_any_patch_release_wants_is_there_without_conditions() -> None:
    assert (
        for_python(LOCK, "3.11")
        == """\
anyio==4.16.0 \\
    --hash=sha256:aa
    # via agentfleet
async-timeout==5.0.1 \\
    --hash=sha256:bb \\
    --hash=sha256:cc
"""
    )


def test_another_python_wants_something_else() -> None:
    assert "tomli==2.3.0 \\\n" in for_python(LOCK, "3.10")
    assert "async-timeout" not in for_python(LOCK, "3.12")
