"""Clients of OpenAI's API that users have besides the Python one: OpenAI's for Node, and LangChain. Fetched once.

Each lies in a folder of its own in the cache, for tests that run where nothing can be downloaded.
"""

from __future__ import annotations

import sys
from pathlib import Path

from e2e.cluster import layout
from e2e.cluster.progress import step
from e2e.cluster.shell import run

_NODE = "openai@7.57.0"
_LANGCHAIN = "langchain-openai==1.1.16"


def prepare() -> None:
    """Fetch what is not there yet."""
    for name, fetch in {_NODE: _node, _LANGCHAIN: _langchain}.items():
        if not (_folder(name) / "complete").exists():
            with step(f"{name}, once"):
                fetch(_folder(name))
            (_folder(name) / "complete").touch()


def node_modules() -> Path:
    """$NODE_PATH with OpenAI's client."""
    return _folder(_NODE) / "node_modules"


def langchain_python() -> Path:
    """A Python that has LangChain."""
    return _folder(_LANGCHAIN) / "bin" / "python"


def _folder(name: str) -> Path:
    return layout.cache_home() / "clients" / name


def _node(folder: Path) -> None:
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", f"--prefix={folder}", _NODE], timeout=300)


def _langchain(folder: Path) -> None:
    run([sys.executable, "-m", "venv", folder], timeout=120)
    run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", _LANGCHAIN], timeout=600)
