# SPDX-License-Identifier: Apache-2.0
"""Files to functions: what a network of any format answers, by name. Loading is here, and whom it trusts.

ONNX files are data: onnxruntime has a fixed set of operations, and files that they refer to are not opened. TorchScript
and exported programs are programs, which run only for callers that say so. Imports: torch; onnxruntime when needed.
"""

import io
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ikol.errors import FileFormatError, InputError
from ikol.regressor.manifest.manifest import RUNS_CODE, Format

Answers = dict[str, Tensor]
Program = Callable[[Tensor], Answers]
_logger = logging.getLogger(__name__)
_NO_MEMORY = "DefaultCPUAllocator"  # torch has no class for it on the CPU

WARNING = (
    "{name} is a {format} file, which is a program: loading it runs what its author wrote, with all that you may do on "
    "this computer"
)


def check_trust(name: str, form: Format, *, trust: bool) -> None:
    """Refuse a program that nobody has said to trust; warn of one that somebody has.

    Raises:
        InputError: it is not trusted.
    """
    if form not in RUNS_CODE:
        return
    warning = WARNING.format(name=name, format=form)
    if not trust:
        raise InputError(
            f"{warning}; if you trust where it comes from, say so (trust=True, --trust-model), or use an ONNX file or "
            "a state dict, which cannot run code"
        )
    _logger.warning("%s", warning)


def load_program(data: bytes, form: Format, device: str = "cpu") -> Any:
    """Return the module of a TorchScript file or an exported program. Runs code of the file: see `check_trust`.

    Raises:
        FileFormatError: it cannot be loaded.
    """
    try:
        if form == "torchscript":
            with warnings.catch_warnings():
                # deprecated from torch 2.11 on, and still the only form in which NLF is published
                warnings.simplefilter("ignore", DeprecationWarning)
                return torch.jit.load(io.BytesIO(data), map_location=device).eval()
        return torch.export.load(io.BytesIO(data)).module().to(device)
    except Exception as error:  # code of the file runs here, which may raise anything
        raise FileFormatError(f"the file is no {form} that torch {torch.__version__} can load: {error}") from error


def torch_answers(module: Callable[..., Any], device: str) -> Program:
    """Return a function that runs a module on a batch and names its answers.

    Where the module raises, the function raises an InputError, but for memory that is out.
    """

    def run(batch: Tensor) -> Answers:
        try:
            with torch.inference_mode():
                return named_answers(module(batch.to(device)))
        except (InputError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # code of the file runs here, which may raise anything
            if _NO_MEMORY in str(error):
                raise
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]  # TorchScript's traceback is before
            raise InputError(f"the network cannot run on the input that the manifest describes: {reason}") from error

    return run


def named_answers(found: Any) -> Answers:
    """Return tensors by their keys, or by their place where they have none; nested containers are left out."""
    if isinstance(found, Tensor):
        return {"0": found.cpu()}
    if isinstance(found, Mapping):
        return {str(name): value.cpu() for name, value in found.items() if isinstance(value, Tensor)}
    if isinstance(found, Sequence):
        return {str(place): value.cpu() for place, value in enumerate(found) if isinstance(value, Tensor)}
    raise InputError(f"the network answers with a {type(found).__name__}; expected tensors, by name or by place")


def onnx_answers(data: bytes) -> Program:
    """Return a function that runs an ONNX network of one input on the CPU, and names its outputs, also by place.

    Raises:
        InputError: onnxruntime is not installed.
        FileFormatError: it cannot be loaded.
    """
    try:
        import onnxruntime  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise InputError("ONNX networks need onnxruntime; install it with `pip install ikol[onnx]`") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # what goes wrong is raised
    # onnxruntime has no common class of what it raises, and some of its errors are none of its own
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise FileFormatError(f"the file is no ONNX network that onnxruntime can load: {error}") from error
    if len(session.get_inputs()) != 1:
        raise FileFormatError(f"the ONNX network has {len(session.get_inputs())} inputs; expected one, the picture")
    names = [output.name for output in session.get_outputs()]
    source = session.get_inputs()[0].name

    def run(batch: Tensor) -> Answers:
        try:
            found = [torch.from_numpy(value) for value in session.run(None, {source: batch.numpy()})]
        except Exception as error:
            raise InputError(
                f"the ONNX network cannot run on the input that the manifest describes: {error}"
            ) from error
        by_place = {str(place): value for place, value in enumerate(found)}
        return by_place | dict(zip(names, found, strict=True))

    return run
