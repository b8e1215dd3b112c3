"""EXPLAIN as the page shows it."""

from __future__ import annotations

import json
from typing import Any

from kdb.planner.rules import RULES
from kdb.ui.wire import Content


def of_explained(text: str, explained: str) -> Content:
    """The event of a plan, from EXPLAIN's JSON of the query ``text``."""
    plan: dict[str, Any] = json.loads(explained)
    summaries = {rule.name: rule.summary for rule in RULES}
    return {
        "kind": "plan",
        "text": text,
        "positions": plan["positions"],
        "expected_seconds": plan["estimated_seconds"],
        "naive_seconds": plan["naive_seconds"],
        "rates_origin": plan["rates_origin"],
        "naive_macs": plan["naive_macs"],
        "planned_macs": plan["planned_macs"],
        "notes": plan["lines"],
        "rules": [
            {
                **{key: rule[key] for key in ("name", "fired", "reason", "approximate")},
                "summary": summaries[rule["name"]],
            }
            for rule in plan["rules"]
        ],
        "stages": [
            {
                **{key: stage[key] for key in ("name", "layers", "planned_macs", "naive_macs")},
                "seconds": stage["estimated_seconds"],
            }
            for stage in plan["stages"]
            if stage["layers"]
        ],
        "layers": [
            {
                **{key: layer[key] for key in ("stage", "name", "operator", "kernel", "box", "map", "channels")},
                **{key: layer[key] for key in ("naive_macs", "planned_macs")},
                "seconds": layer["estimated_seconds"],
            }
            for layer in plan["layers"]
        ],
    }
