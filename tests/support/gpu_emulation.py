# SPDX-License-Identifier: Apache-2.0
"""A GPU's kernel that runs on the CPU: the same source, compiled as plain C++, threads one after the other."""

import ctypes
from pathlib import Path

import native_build
import torch

from ikol.solver.cuda_compiler import Kernel, Source

_PROTOTYPE = ctypes.CFUNCTYPE(None, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p)


class EmulatedKernel(Kernel):
    """Starts every thread in turn, on tensors of the CPU."""

    def launch(self, blocks: int, *arguments: ctypes.Structure | ctypes.c_void_p) -> None:
        """Run all blocks."""
        call, any_invalid = arguments
        _PROTOTYPE(self.function.value or 0)(blocks, self.block, ctypes.addressof(call), any_invalid)


def emulate(source: Source, kernel: str, call: str, block: int, folder: Path) -> EmulatedKernel:
    """Compile what NVRTC would be given; `kernel` and `call`: the names of the function and of its argument."""
    compiler = native_build.find_any_compiler()
    assert compiler is not None
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "kernel.h"
    file.write_text(source.text)
    for name, text in source.headers:
        (folder / name).write_text(text)
    defines = [option for option in source.options if option != "-DIKOL_DEVICE=1"]
    defines += [f'-DIKOL_KERNEL_SOURCE="{file}"', f"-DIKOL_KERNEL={kernel}", f"-DIKOL_CALL={call}"]
    flags = ("-Wno-unused-function", "-Wno-maybe-uninitialized", "-Wno-bool-operation", *defines)
    library = native_build.build(compiler, native_build.SUPPORT / "gpu_emulation.cpp", folder / "kernel.so", *flags)
    # few blocks, so that a thread has several frames
    function = ctypes.cast(ctypes.CDLL(str(library)).emulate, ctypes.c_void_p)
    return EmulatedKernel(function, torch.device("cpu"), block, resident_blocks=2, local_bytes=0)
