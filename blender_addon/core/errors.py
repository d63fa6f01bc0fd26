# SPDX-License-Identifier: GPL-3.0-or-later
"""The add-on's error tree: a failure is one sentence for the user and, where there is one, the button that helps."""

from enum import Enum


class Fix(Enum):
    """What the user can press to get on; the panel draws it beside the sentence."""

    NONE = "none"
    """Nothing to press: the sentence says what to do."""
    OPEN_PREFERENCES = "open_preferences"
    """The solver's Python has to be named or completed."""
    START = "start"
    """Start the solver again."""
    OPEN_LOG = "open_log"
    """The cause is in the solver's log."""
    KEY_POSE = "key_pose"
    """The pose has no key yet."""


class AddonError(Exception):
    """A failure that the user can read: `str(error)` is the sentence, `fix` the button beside it."""

    def __init__(self, message: str, fix: Fix = Fix.NONE) -> None:
        super().__init__(message)
        self.fix = fix


class FileError(AddonError):
    """A picture or keypoint file that cannot be used."""


class EvidenceError(AddonError):
    """Stored evidence that cannot be read back."""


class SceneError(AddonError):
    """Something in the Blender scene is missing or is not as the add-on needs it."""


class SolverError(AddonError):
    """The solver process could not be started, went away, or refused a request.

    `code` is the wire's stable error code, empty for failures on this side.
    """

    def __init__(self, message: str, fix: Fix = Fix.NONE, code: str = "") -> None:
        super().__init__(message, fix)
        self.code = code
