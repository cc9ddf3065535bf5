"""Which text of the configuration is to be run, kept over restarts.

The operator edits the file in /etc, which control may not write. In its state directory control
keeps the text that was confirmed last, and a doubt about another one: **a text is doubted before
it is run for the first time, and trusted when it has been confirmed, or has worked for a while.**
So whatever ends control meanwhile, a crash in the new text included, a start finds the doubt, and
runs the confirmed text instead, until the file changes or an operator says `edgenode apply`.

| control ends                              | the next start runs                            |
|-------------------------------------------|------------------------------------------------|
| before the doubt is stored                | the file: it has not been run yet              |
| after it, on trial or not yet trusted     | the confirmed text                             |
| in `trust`, before the confirmed is stored| the same                                       |
| after it, before the doubt is removed     | the file: it is the confirmed text, too        |
| told to by a signal, not on trial         | the file: the doubt is taken back              |
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from edgenode import durable, places
from edgenode.config import Config, ConfigError, loads, read_essentials
from edgenode.config.load import read
from edgenode.state import StateError

log = logging.getLogger(__name__)


def digest(text: str) -> str:
    """What tells texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Doubt:
    """A text that must not be run unasked."""

    digest: str
    why: str
    """The end of a sentence: "it was on trial when control ended"."""
    at: float
    """Wall-clock time in seconds of the epoch."""


@dataclass(frozen=True)
class Chosen:
    """The text to run, and what it says."""

    text: str
    config: Config
    problem: str
    """Why it is not that of the file, as a sentence; empty: it is."""


class Texts:
    """The files in control's state directory."""

    def __init__(self, state_dir: Path) -> None:
        """`state_dir`: control's own."""
        self._confirmed = state_dir / places.CONFIRMED
        self._doubt = state_dir / "doubt.json"

    def confirmed(self) -> str | None:
        """The text that was confirmed last; what cannot be read is not there."""
        try:
            return self._confirmed.read_bytes().decode()  # its ends of lines as they are
        except (OSError, UnicodeDecodeError):
            return None

    def doubt(self) -> Doubt | None:
        """The doubted text; what cannot be read is not there."""
        try:
            found = json.loads(self._doubt.read_text("utf-8"))
            return Doubt(str(found["digest"]), str(found["why"]), float(found["at"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def suspect(self, text: str, why: str) -> None:
        """Doubt a text. Raises StateError."""
        self._write(self._doubt, json.dumps(asdict(Doubt(digest(text), why, time.time()))))

    def trust(self, text: str) -> None:
        """Confirm a text. Raises StateError."""
        if self.confirmed() != text:
            self._write(self._confirmed, text)
        self.believe(text)

    def believe(self, text: str) -> None:
        """Doubt a text no more; another one may be doubted still. Raises StateError."""
        if (doubt := self.doubt()) is None or doubt.digest != digest(text):
            return
        try:
            self._doubt.unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f"{self._doubt} cannot be removed ({error.strerror})") from None

    def _write(self, path: Path, text: str) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            durable.replace(path, text, 0o600)
        except OSError as error:
            raise StateError(
                f"{path} cannot be written ({error.strerror}): see that it can be, and try again"
            ) from None


def choose(path: Path) -> Chosen:
    """What a start runs: the file, or the confirmed text where the file is of no use.

    Raises ConfigError (of the file) where there is nothing else to run.
    """
    texts = Texts(places.control_state(read_essentials(path).state_dir))
    try:
        text = read(path)
        config = loads(text, path)
    except ConfigError as error:
        if last := _last(texts, f"{path} is wrong: {'; '.join(error.lines())}"):
            return last
        raise
    doubt = texts.doubt()
    if doubt is None or doubt.digest != digest(text) or texts.confirmed() == text:
        return Chosen(text, config, "")
    last = _last(texts, refusal(path, doubt.why))
    return last or Chosen(text, config, "")


def refusal(path: Path, why: str) -> str:
    """Why the file is not in force, and what to do, without the last full stop."""
    return f"{path} is not in force: {why}. Mend it, or say `edgenode apply` to try it again"


def _last(texts: Texts, why: str) -> Chosen | None:
    """The confirmed text. It has run: a file that it names and that has gone since is no reason to
    withdraw everything, but for whoever needs the file (a check without its certificates fails).
    """
    text = texts.confirmed()
    if text is None:
        return None
    try:
        config = loads(text, check_secrets=False)
    except ConfigError as error:
        log.error("the last confirmed configuration is of no use either: %s", error)
        return None
    return Chosen(text, config, f"{why}. The configuration that was confirmed last runs instead")
