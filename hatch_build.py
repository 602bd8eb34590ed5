"""Hatchling's hook: a wheel says from which commit it was built, as outside a checkout git cannot be asked."""

import json
import subprocess
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

CODE = ("clipeval", "data", "docs/glossary.md", "notebooks", "pyproject.toml")


class Commit(BuildHookInterface):
    """Writes `_bundled/commit.json` into the wheel; nothing where there is no git, or for an editable install."""

    PLUGIN_NAME = "custom"

    def initialize(self, version, build_data):
        """Called by hatchling before the wheel is built."""
        commit, changes = (
            self._git("rev-parse", "HEAD"),
            self._git("status", "--porcelain", "--", *CODE),
        )
        if version == "editable" or not commit or not Path(self.root, ".git").exists():
            return
        path = Path(self.directory, "commit.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"commit": commit, "dirty": bool(changes)}) + "\n", "utf-8")
        build_data["force_include"][str(path)] = "clipeval/_bundled/commit.json"

    def finalize(self, version, build_data, artifact_path):
        """Called after it: nothing stays beside the wheel."""
        Path(self.directory, "commit.json").unlink(missing_ok=True)

    def _git(self, *arguments):
        command = ["git", "-c", f"safe.directory={self.root}", "-C", self.root, *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError:
            return ""
        return done.stdout.strip()
