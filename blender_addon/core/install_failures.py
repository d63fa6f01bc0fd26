# SPDX-License-Identifier: GPL-3.0-or-later
"""Why an installation failed: from the last words of pip, Python or the system to a sentence and the button that helps.

The order counts: a failed download ends with "no matching distribution", whatever the cause was that it names before.
"""

import re
from collections.abc import Collection

from .errors import Fix, InstallError
from .install_plan import Step, StepKind

_CAUSES: tuple[tuple[str, str, Fix], ...] = (
    (
        r"No space left on device|\[Errno 28\]|WinError 112|Disk quota exceeded",
        "the disk is full; make room and go on where it stopped",
        Fix.INSTALL,
    ),
    (
        r"DO NOT MATCH THE HASHES|HashMismatch",
        "a package that was fetched is not the one that it should be, so nothing of it was run: a cut connection or a "
        "proxy that changes files; it is deleted, try again or from another network",
        Fix.INSTALL,
    ),
    (
        r"WinError 206|File name too long|\[Errno 36\]|[Ll]ong [Pp]aths? support",
        "a path is too long for Windows; allow long paths in Windows, or install the solver into a short folder "
        "yourself and name its Python in the preferences",
        Fix.OPEN_PREFERENCES,
    ),
    (
        r"WinError 225|contains a virus|(\[Errno 2\]|WinError 2\b).*\.whl",
        "a file was taken away, as antivirus programs do; allow Blender's folder in yours and try again",
        Fix.INSTALL,
    ),
    (
        r"PermissionError|Permission denied|\[Errno 13\]|WinError (5|32)\b|Access is denied|Read-only file system",
        "the system refused to write a file; close what uses it, allow Blender in the antivirus program and try again",
        Fix.INSTALL,
    ),
    (
        r"ProxyError|407 Proxy|Cannot connect to proxy|Tunnel connection failed",
        "the proxy does not let the download through; set your network's proxy in the system, or install from disk",
        Fix.INSTALL_FROM_DISK,
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError|TLSV1_ALERT|suitable TLS CA certificate bundle",
        "the package index could not prove who it is: a proxy or an antivirus program reads along, or the computer's "
        "clock is wrong; add the proxy's certificate to those that your system trusts, or install from disk",
        Fix.INSTALL_FROM_DISK,
    ),
    (
        r"NewConnectionError|NameResolutionError|Name or service not known|getaddrinfo failed|Network is unreachable"
        r"|name resolution|ConnectTimeout|Connection refused|ConnectionError|ReadTimeout|IncompleteRead"
        r"|Connection (broken|aborted|reset)|timed out|No route to host",
        "the package index cannot be reached; what was fetched is kept: go on when there is a network, or install from "
        "disk",
        Fix.INSTALL,
    ),
    (
        r"the bundle lacks|BadZipFile|not a zip file",
        "this file is no offline bundle for this Blender",
        Fix.INSTALL_FROM_DISK,
    ),
)

_BY_KIND = {
    StepKind.ENVIRONMENT: (
        "Blender's Python cannot make an environment; install the solver yourself and name its Python in the "
        "preferences",
        Fix.OPEN_PREFERENCES,
    ),
    StepKind.DOWNLOAD: ("the packages could not be fetched", Fix.OPEN_INSTALL_LOG),
    StepKind.INSTALL: ("the packages could not be installed", Fix.OPEN_INSTALL_LOG),
    StepKind.VERIFY: ("the solver was installed and does not work on this computer", Fix.OPEN_INSTALL_LOG),
    StepKind.UNPACK: ("the offline bundle could not be read", Fix.INSTALL_FROM_DISK),
    StepKind.CHECK: ("the installed files could not be compared with their hashes", Fix.OPEN_INSTALL_LOG),
    StepKind.REMOVE: ("old files could not be removed", Fix.INSTALL),
}

_UNREACHED_HOST = re.compile(
    r"host='([^']+)', port=\d+\): Failed to |(?:ConnectTimeout|ConnectionPool)\(host='([^']+)'"
)

_NOT_IN_INDEX = re.compile(r"No matching distribution found for (\S+?)={2,3}(\S+)")


def explain_failure(step: Step, exit_code: int, output: str, proxies: Collection[str] = ()) -> InstallError:
    """Return the error for a step that failed.

    Args:
        step: That failed.
        exit_code: Of its process.
        output: What that printed.
        proxies: Hosts of the proxies that the system names; pip 26.3 does not say that a host is one.
    """
    unreached = {host for match in _UNREACHED_HOST.finditer(output) for host in match.groups() if host in proxies}
    if unreached:
        text = (
            f"the proxy {min(unreached)} cannot be reached; correct it in the system's settings, or install from disk"
        )
        return InstallError(text, Fix.INSTALL_FROM_DISK)
    for pattern, text, fix in _CAUSES:
        if re.search(pattern, output):
            return InstallError(text, fix)
    match = _NOT_IN_INDEX.search(output)
    if match is not None and match[2].endswith("+cpu"):
        return InstallError(
            "the package index has no PyTorch for the processor alone; take the one for CUDA, which is larger and runs "
            "without a graphics card too, or name an index in the preferences that has the small one",
            Fix.INSTALL_CUDA,
        )
    if match is not None:
        return InstallError(
            f"the package index does not have {match[1]} {match[2]}; install from disk", Fix.INSTALL_FROM_DISK
        )
    text, fix = _BY_KIND[step.kind]
    if exit_code < 0:
        return InstallError(f"{text}: its process was ended by signal {-exit_code}", Fix.INSTALL)
    return InstallError(f"{text}: {_last_line(output)}" if _last_line(output) else text, fix)


def is_spoilt(output: str) -> bool:
    """Return whether what was fetched is not to be trusted, so that it has to be fetched anew."""
    return re.search(_CAUSES[1][0], output) is not None


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip() and not line.startswith("Progress ")]
    return lines[-1][:200].removeprefix("ERROR: ") if lines else ""
