"""HAProxy out of Debian's packages: a root file system for the image, which also runs on this machine.

It comes with its own C library and loader, so a release of Debian newer than this machine's does no harm. What makes an
image of it is `build.py`; who wants to run it asks `e2e.support.haproxy`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.images import BuildError, Progress, cache, debian, unpacked
from e2e.images.shell import run

FOLDER = Path(__file__).parent
PACKAGES = ["haproxy", "busybox-static"]
RELEASE = "sid"


@dataclass(frozen=True)
class Edition:
    """One HAProxy: the version that it has at least, and the Debian release that the program itself comes from."""

    minimum: str
    release: str = RELEASE

    @property
    def name(self) -> str:
        """Of its folder in the cache, which may hold no dot."""
        return f"haproxy-{self.minimum.replace('.', '-')}"

    @property
    def key(self) -> str:
        return cache.digest(Path(__file__), Path(debian.__file__), self.minimum, RELEASE, self.release, *PACKAGES)


SERVED = Edition("3.2")
"""The oldest version that the gateway is rendered for, and the one in the image."""
NEWER = Edition("3.4", release="experimental")
"""May be gone from Debian's experimental any day: nothing but a few tests may want it."""


def built(edition: Edition) -> Path | None:
    """The root file system of `edition` where it is there already: for those who cannot build, having no network."""
    return cache.find(edition.name, edition.key)


def tree(edition: Edition, progress: Progress) -> Path:
    """The root file system of `edition`; seconds the first time. The caller holds `cache.lock()`."""
    return cache.entry(edition.name, edition.key, lambda target: _unpack(target, edition, progress))


def command(root: Path) -> list[str]:
    """What runs the HAProxy of a root file system on this machine, with the libraries from there and no others."""
    return unpacked.command(root, "usr/sbin/haproxy")


def require(words: Sequence[str], minimum: str) -> None:
    """Raise BuildError unless the HAProxy that `words` run is new enough and has what the gateway's needs."""
    about = run([*words, "-vv"], timeout=20)
    found = re.match(r"HAProxy version (\d+)\.(\d+)", about)
    if found is None:
        raise BuildError(f"`{words[-1]} -vv` does not tell its version, but: {about[:80]}")
    if tuple(map(int, found.groups())) < tuple(map(int, minimum.split("."))):
        raise BuildError(f"{words[-1]} is {found.group()}: the tests want {minimum} or newer")
    features = set(about.split())
    if missing := {"+LUA", "+PCRE2", "+PROMEX"} - features:
        raise BuildError(f"{words[-1]} was built without {', '.join(sorted(missing))}, which the gateway needs")


def _unpack(target: Path, edition: Edition, progress: Progress) -> None:
    progress(f"unpacking HAProxy {edition.minimum} of Debian {edition.release}")
    debian.root(target, RELEASE, PACKAGES)
    if edition.release != RELEASE:
        # The program alone: all that it loads is new enough in RELEASE, and apt would drag half of a release along.
        other = target.with_name(f"{target.name}.other")
        debian.root(other, edition.release, ["haproxy"], dependencies=False)
        shutil.copy(other / "usr" / "sbin" / "haproxy", target / "usr" / "sbin" / "haproxy")
        shutil.rmtree(other)
    require(command(target), edition.minimum)
