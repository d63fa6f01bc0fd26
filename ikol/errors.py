# SPDX-License-Identifier: Apache-2.0
"""What ikol raises. Every message says what was wrong, what was got, what was expected and what to do."""


class IkolError(Exception):
    """Anything that ikol raises on purpose."""


class InputError(IkolError, ValueError):
    """An argument or a setting cannot be used."""


class ImageError(InputError):
    """A picture cannot be read, or is larger than is allowed."""


class FileFormatError(InputError):
    """A file is not what it should be: wrong content, wrong hash, or a hostile one."""


class Cancelled(IkolError):  # noqa: N818 - not an error: the caller asked for it
    """The caller asked to stop, through its progress callback."""
