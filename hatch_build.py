"""Builds the compiled kernels into wheels and editable installs, where there is a compiler; kdb does without them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("kdb", "kernels", "compiled")


class CompiledKernels(BuildHookInterface):
    """Compiles the library beside its sources, and makes the wheel one of this platform if it could."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is made; no failure here is one of the installation."""
        spec = importlib.util.spec_from_file_location("build_kernels", Path(self.root, FOLDER, "build.py"))
        build = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(build)
        library = Path(self.root, FOLDER, build.NAME)
        try:
            build.build(library)
        except build.BuildError as error:
            print(f"kdb does without compiled kernels: {error}", file=sys.stderr)
            library.unlink(missing_ok=True)  # of other sources, perhaps
            return
        build_data["artifacts"].append(str(FOLDER / build.NAME))
        build_data["pure_python"] = False
        build_data["tag"] = build.tag()
