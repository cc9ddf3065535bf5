"""What every table of the configuration's schema is built from."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(strict=True, ge=1, le=100)]
Connections = Annotated[int, Field(strict=True, ge=1, le=2_000_000)]
"""Live connections from this node."""
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Share = Annotated[float, Field(strict=True, gt=0, le=1)]
Flag = Annotated[bool, Field(strict=True)]
Argument = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Of a command: no shell sees it."""


class Section(BaseModel):
    """A table of the file: frozen once loaded, unknown keys refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
    )
