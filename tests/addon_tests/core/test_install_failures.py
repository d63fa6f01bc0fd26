# SPDX-License-Identifier: Apache-2.0
"""The words are those of pip 26.3, Python 3.11 and the systems; the ones of pip were copied from its output."""

import pytest

from blender_addon.core.errors import Fix
from blender_addon.core.install_failures import explain_failure, is_spoilt
from blender_addon.core.install_plan import Step, StepKind

DOWNLOAD = Step(StepKind.DOWNLOAD, "fetching torch", ())
NO_MATCH = "ERROR: No matching distribution found for torch===2.13.0"


@pytest.mark.parametrize(
    ("output", "sentence", "fix"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk is full",
            "INSTALL",
        ),
        ("OSError: [WinError 112] There is not enough space on the disk", "the disk is full", "INSTALL"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one that", "INSTALL"),
        ("OSError: [WinError 206] The filename or extension is too long", "path is too long", "OPEN_PREFERENCES"),
        ("OSError: [WinError 225] Operation did not complete: the file contains a virus", "antivirus", "INSTALL"),
        (
            "OSError: [Errno 2] No such file or directory: '/x/wheels/tqdm-4.70.1-py3-none-any.whl'",
            "taken away",
            "INSTALL",
        ),
        ("FileNotFoundError: [WinError 2] not found: 'C:\\\\x\\\\torch-2-py3-none-any.whl'", "taken away", "INSTALL"),
        ("PermissionError: [WinError 5] Access is denied: 'torch_cpu.dll'", "refused to write", "INSTALL"),
        (
            "WARNING: Retrying after connection broken by 'ProxyError('Cannot connect to proxy.', "
            f"NewConnectionError())'\n{NO_MATCH}",
            "the proxy does not let",
            "INSTALL_FROM_DISK",
        ),
        (
            f"SSLError(SSLCertVerificationError(1, 'CERTIFICATE_VERIFY_FAILED'))\n{NO_MATCH}",
            "who it is",
            "INSTALL_FROM_DISK",
        ),
        (f"NewConnectionError: [Errno 111] Connection refused\n{NO_MATCH}", "cannot be reached", "INSTALL"),
        (f"[Errno -2] Name or service not known\n{NO_MATCH}", "cannot be reached", "INSTALL"),
        ("ERROR: No matching distribution found for torch===2.13.0+cpu", "for the processor alone", "INSTALL_CUDA"),
        (NO_MATCH, "the package index does not have torch 2.13.0", "INSTALL_FROM_DISK"),
        ("zipfile.BadZipFile: File is not a zip file", "no offline bundle", "INSTALL_FROM_DISK"),
        ("the bundle lacks torch.whl", "no offline bundle", "INSTALL_FROM_DISK"),
        ("Progress 1 of 2\nERROR: something new", "could not be fetched: something new", "OPEN_INSTALL_LOG"),
        ("", "the packages could not be fetched", "OPEN_INSTALL_LOG"),
    ],
)
def test_every_failure_is_a_sentence_with_a_fix(output, sentence, fix):
    error = explain_failure(DOWNLOAD, 1, output)
    assert sentence in str(error)
    assert error.fix is Fix[fix]


REFUSED = (
    "WARNING: Retrying (Retry(total=0, connect=None)) after connection broken by 'NewConnectionError("
    "\"HTTPSConnection(host='proxy.example', port=9): Failed to establish a new connection: [Errno 111] Connection "
    f"refused\")': /simple/torch/\n{NO_MATCH}"
)
UNKNOWN = REFUSED.replace("NewConnectionError", "NameResolutionError").replace(
    "establish a new connection: [Errno 111] Connection refused", "resolve 'proxy.example' ([Errno -2] not known)"
)


@pytest.mark.parametrize("output", [REFUSED, UNKNOWN])
def test_a_host_that_cannot_be_reached_is_told_from_a_proxy_by_the_systems_settings(output):
    error = explain_failure(DOWNLOAD, 1, output, {"proxy.example", "other.example"})
    assert str(error).startswith("the proxy proxy.example cannot be reached; correct it")
    assert error.fix is Fix.INSTALL_FROM_DISK
    assert "the package index cannot be reached" in str(explain_failure(DOWNLOAD, 1, output, {"other.example"}))


def test_a_proxy_that_wants_a_password_is_told():
    output = (
        f"connection broken by 'OSError('Tunnel connection failed: 407 Proxy Authentication Required')'\n{NO_MATCH}"
    )
    assert "the proxy does not let the download through" in str(explain_failure(DOWNLOAD, 1, output))


def test_a_file_of_certificates_that_is_not_there_is_told():
    output = "OSError: Could not find a suitable TLS CA certificate bundle, invalid path: /etc/ca.crt"
    assert "add the proxy's certificate" in str(explain_failure(DOWNLOAD, 2, output))


@pytest.mark.parametrize("kind", StepKind)
def test_a_step_that_says_nothing_has_its_sentence(kind):
    error = explain_failure(Step(kind, "", ()), 1, "")
    assert len(str(error)) > 20
    assert error.fix is not Fix.NONE


def test_a_process_that_was_killed_is_told():
    assert "ended by signal 9" in str(explain_failure(DOWNLOAD, -9, ""))


def test_a_python_that_makes_no_environment_leads_to_the_preferences():
    error = explain_failure(Step(StepKind.ENVIRONMENT, "", ()), 1, "No module named venv")
    assert "cannot make an environment" in str(error)
    assert error.fix is Fix.OPEN_PREFERENCES


def test_only_a_wrong_hash_makes_what_was_fetched_suspect():
    assert is_spoilt("THESE PACKAGES DO NOT MATCH THE HASHES")
    assert not is_spoilt("No space left on device")
