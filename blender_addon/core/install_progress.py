# SPDX-License-Identifier: GPL-3.0-or-later
"""How far an installation is: by the steps that are done and by what pip says of the one that runs."""

import re
from dataclasses import dataclass, field

from .install_plan import Step, StepKind

_PROGRESS = re.compile(r"^Progress (\d+) of (\d+)$")


@dataclass
class Progress:
    """How far an installation is, by the steps that are done and by what pip says of the one that runs."""

    steps: tuple[Step, ...]
    index: int = 0
    _finished: int = field(default=0, repr=False)
    _current: int = field(default=0, repr=False)
    _least: float = field(default=0.0, repr=False)

    @property
    def step(self) -> Step:
        """The step that runs, or the last one."""
        return self.steps[min(self.index, len(self.steps) - 1)]

    @property
    def bytes_total(self) -> int:
        """How much is fetched in all."""
        return sum(step.size for step in self.steps)

    @property
    def bytes_done(self) -> int:
        """How much of it is here."""
        done = sum(step.size for step in self.steps[: self.index])
        return done + (self._in_step() if self.step.size and self.index < len(self.steps) else 0)

    @property
    def fraction(self) -> float:
        """From 0 to 1, never falling."""
        done = sum(step.weight for step in self.steps[: self.index])
        done += self._in_step() if self.index < len(self.steps) else 0
        return max(self._least, done / max(1, sum(step.weight for step in self.steps)))

    def feed(self, line: str) -> None:
        """Take a line that pip printed."""
        match = _PROGRESS.match(line)
        if match is None:
            return
        done, total = int(match[1]), int(match[2])
        if done >= total:
            self._finished += total
            self._current = 0
        else:
            self._current = max(done, self._current)

    def advance(self) -> None:
        """Go to the next step."""
        self.index += 1
        self._finished = self._current = 0

    def extend(self, steps: tuple[Step, ...]) -> None:
        """Add steps, which only the one that runs could tell."""
        self._least = self.fraction
        self.steps += steps

    def _in_step(self) -> int:
        return min(self._finished + self._current, self.step.size or self.step.weight)


def progress_text(progress: Progress) -> str:
    """Return where an installation is, as a sentence without a full stop."""
    text = f"step {min(progress.index + 1, len(progress.steps))} of {len(progress.steps)}: {progress.step.text}"
    if progress.step.kind is StepKind.DOWNLOAD:
        text += f", {progress.bytes_done / 1e6:.0f} of {progress.bytes_total / 1e6:.0f} MB"
    return text
