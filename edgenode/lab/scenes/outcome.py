"""What a scene showed: claims that hold or not, and figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Claim:
    """One thing that a scene must show."""

    text: str
    holds: bool
    detail: str = ""


@dataclass
class Outcome:
    """Filled while a scene plays. A scene without a claim has shown nothing."""

    claims: list[Claim] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    """Why the scene could not be played to its end."""

    @property
    def passed(self) -> bool:
        return self.error is None and bool(self.claims) and all(c.holds for c in self.claims)

    def as_json(self) -> dict[str, Any]:
        """The scene's entry in the demo's JSON."""
        entry: dict[str, Any] = {"passed": self.passed, **self.figures}
        failures = [f"{c.text}: {c.detail}" if c.detail else c.text for c in self.failed]
        if self.error:
            failures.append(self.error)
        return entry | ({"failures": failures} if failures else {})

    @property
    def failed(self) -> list[Claim]:
        return [claim for claim in self.claims if not claim.holds]
