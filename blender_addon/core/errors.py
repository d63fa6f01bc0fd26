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
    INSTALL = "install"
    """Install the solver, or go on where the installation stopped."""
    INSTALL_CUDA = "install_cuda"
    """Install the larger solver, for CUDA: the smaller one cannot be had."""
    INSTALL_FROM_DISK = "install_from_disk"
    """Install the solver from an offline bundle."""
    OPEN_INSTALL_LOG = "open_install_log"
    """The cause is in the log of the installation."""
    ALLOW_ONLINE = "allow_online"
    """Blender may not go online."""


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


class InstallError(AddonError):
    """The solver could not be installed, or what was installed does not work."""


class SolverError(AddonError):
    """The solver process could not be started, went away, or refused a request.

    `code` is the wire's stable error code, empty for failures on this side.
    """

    def __init__(self, message: str, fix: Fix = Fix.NONE, code: str = "") -> None:
        super().__init__(message, fix)
        self.code = code


class SolverLost(SolverError):  # noqa: N818 - it is not the end: another process takes its place
    """A solver that worked has ended or does not answer any more; one that is started again may do."""


UPDATE_CODE = "unsupported_version"

_MISUNDERSTOOD = "add-on and solver do not understand each other: update both"

REFUSALS: dict[str, tuple[str, Fix]] = {
    "bad_frame": (_MISUNDERSTOOD, Fix.OPEN_PREFERENCES),
    "bad_message": (_MISUNDERSTOOD, Fix.OPEN_PREFERENCES),
    "bad_shape": (_MISUNDERSTOOD, Fix.OPEN_PREFERENCES),
    "too_large": ("use a smaller picture", Fix.NONE),
    UPDATE_CODE: ("", Fix.OPEN_PREFERENCES),
    "hello_required": ("try once more", Fix.NONE),
    "duplicate_id": (_MISUNDERSTOOD, Fix.OPEN_PREFERENCES),
    "busy": ("try once more in a moment", Fix.NONE),
    "superseded": ("try once more", Fix.NONE),
    "timeout": ("", Fix.NONE),
    "cancelled": ("", Fix.NONE),
    "overloaded": ("try once more", Fix.NONE),
    "not_allowed": ("", Fix.NONE),
    "bad_image": ("", Fix.NONE),
    "bad_input": ("", Fix.NONE),
    "out_of_memory": ("", Fix.NONE),
    "worker_crashed": ("", Fix.OPEN_LOG),
    "worker_unavailable": ("", Fix.OPEN_LOG),
    "start_failed": ("", Fix.OPEN_LOG),
    "shutting_down": ("start it again", Fix.START),
    "internal_error": ("", Fix.OPEN_LOG),
}
"""For every code of the wire: what to add to the solver's sentence where that does not say what to do, and the fix."""


def refusal(code: str, message: str) -> SolverError:
    """Return the error for what the solver answered; a code that is not known counts as a fault of the solver."""
    advice, fix = REFUSALS.get(code, REFUSALS["internal_error"])
    return SolverError(f"{message}; {advice}" if advice else message, fix, code)
