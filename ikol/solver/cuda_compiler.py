# SPDX-License-Identifier: Apache-2.0
"""Compiles C++ for a GPU with NVRTC, keeps the machine code in the user's cache, loads and launches it.

NVRTC and the driver are called through ctypes: NVRTC is in the wheels that torch brings for CUDA, the driver wherever
torch runs CUDA. Nothing is loaded before the first use. Imports: torch, ctypes.
"""

import ctypes
import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

_DIGEST_BYTES = 32
_LOCAL_SIZE_BYTES = 3  # CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES
Argument = ctypes.Structure | ctypes.c_void_p


class CudaError(RuntimeError):
    """The compiler or the driver is missing, or refused."""


@dataclass(frozen=True)
class Source:
    """One file for the compiler, the headers that it includes by name, and the compiler's further options."""

    text: str
    headers: tuple[tuple[str, str], ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compiled:
    """Machine code, and what the compiler said about it."""

    cubin: bytes
    log: str


def compile_source(source: Source, capability: tuple[int, int], extra: Sequence[str] = ()) -> Compiled:
    """Return the machine code of a source for GPUs of one compute capability.

    Raises:
        CudaError: NVRTC is missing, does not know the GPU, or does not take the source.
    """
    library = _nvrtc()
    program = ctypes.c_void_p()
    count = len(source.headers)
    texts = (ctypes.c_char_p * count)(*(text.encode() for _, text in source.headers))
    names = (ctypes.c_char_p * count)(*(name.encode() for name, _ in source.headers))
    code = library.nvrtcCreateProgram(ctypes.byref(program), source.text.encode(), b"kernel.cu", count, texts, names)
    _check_nvrtc(library, code, "")
    try:
        target = f"--gpu-architecture=sm_{capability[0]}{capability[1]}"
        options = (target, "--std=c++17", "-default-device", *source.options, *extra)
        array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        code = library.nvrtcCompileProgram(program, len(options), array)
        log = _read(library, program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        _check_nvrtc(library, code, log)
        return Compiled(_read(library, program, "CUBIN"), log)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _read(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> bytes:
    size = ctypes.c_size_t()
    _check_nvrtc(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)), "")
    content = ctypes.create_string_buffer(size.value)
    _check_nvrtc(library, getattr(library, f"nvrtcGet{what}")(program, content), "")
    return content.raw


def _check_nvrtc(library: ctypes.CDLL, code: int, log: str) -> None:
    if code:
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise CudaError(f"NVRTC: {bytes(library.nvrtcGetErrorString(code)).decode()} {log[:2000]}".rstrip())


@lru_cache(maxsize=1)
def _nvrtc() -> ctypes.CDLL:
    """NVRTC as torch would load it, or from the wheels of NVIDIA beside it."""
    tried: list[str] = []
    for name in _nvrtc_names():
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            tried.append(str(error))
    raise CudaError(f"NVRTC was not found; it comes with torch's wheels for CUDA ({'; '.join(tried[:2])})")


def _nvrtc_names() -> list[str]:
    major = (torch.version.cuda or "13").split(".")[0]
    is_windows = sys.platform == "win32"
    pattern = "nvrtc64_*_0.dll" if is_windows else "libnvrtc.so.*"
    roots = [Path(torch.__file__).parent / "lib"]
    found = importlib.util.find_spec("nvidia")
    for root in (found.submodule_search_locations or ()) if found else ():
        roots += sorted(Path(root).glob(f"*/{'bin' if is_windows else 'lib'}")) + sorted(
            Path(root).glob("*/bin/x86_64")
        )
    paths = [path for root in roots for path in sorted(root.glob(pattern)) if "alt" not in path.name]
    fitting = sorted(paths, key=lambda path: major not in path.name)
    return [*map(str, fitting), f"nvrtc64_{major}0_0.dll" if is_windows else f"libnvrtc.so.{major}"]


def cached_cubin(source: Source, capability: tuple[int, int], folder: Path | None = None) -> bytes:
    """Return the machine code, from the cache where it is there and whole.

    Each file holds the SHA-256 of its content before it, so that a damaged one is made again.

    Raises:
        CudaError: see `compile_source`.
    """
    path = (folder or cache_folder()) / f"{_key(source, capability)}.cubin"
    try:
        content = path.read_bytes()
    except OSError:
        content = b""
    digest, cubin = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if cubin and hashlib.sha256(cubin).digest() == digest:
        return cubin
    cubin = compile_source(source, capability).cubin
    _store(path, hashlib.sha256(cubin).digest() + cubin)
    return cubin


def cache_folder() -> Path:
    """Return where machine code is kept: in the user's cache."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "ikol" / "cuda"


def _key(source: Source, capability: tuple[int, int]) -> str:
    parts = (source.text, repr(source.headers), repr(source.options), repr((capability, _nvrtc_version())))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _nvrtc_version() -> tuple[int, int]:
    major, minor = ctypes.c_int(), ctypes.c_int()
    library = _nvrtc()
    _check_nvrtc(library, library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "")
    return major.value, minor.value


def _store(path: Path, content: bytes) -> None:
    """Write whole or not at all; a cache that cannot be written is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError:
        return


@dataclass(frozen=True, eq=False)
class Kernel:
    """A function on one GPU."""

    function: ctypes.c_void_p
    device: torch.device
    block: int
    """Threads of a block."""
    resident_blocks: int
    """Blocks that are started at most; each goes on to the next frames when it has solved its own."""
    local_bytes: int
    """Local memory of a thread."""

    def launch(self, blocks: int, *arguments: Argument) -> None:
        """Start `blocks` blocks on torch's current stream.

        Raises:
            CudaError: the driver refuses.
        """
        pointers = (ctypes.c_void_p * len(arguments))(*(ctypes.addressof(each) for each in arguments))
        with torch.cuda.device(self.device):
            driver = _context(self.device)
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            sizes = (blocks, 1, 1, self.block, 1, 1, 0)
            _check_driver(driver, driver.cuLaunchKernel(self.function, *sizes, stream, pointers, None))


def load_kernel(cubin: bytes, name: str, block: int, device: torch.device, most: int = 32) -> Kernel:
    """Load machine code on a GPU, for blocks of `block` threads, `most` on a multiprocessor. It stays loaded.

    Raises:
        CudaError: the driver is missing or refuses.
    """
    module, function, number = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int()
    with torch.cuda.device(device):
        driver = _context(device)
        _check_driver(driver, driver.cuModuleLoadData(ctypes.byref(module), cubin))
        _check_driver(driver, driver.cuModuleGetFunction(ctypes.byref(function), module, name.encode()))
        _check_driver(driver, driver.cuFuncGetAttribute(ctypes.byref(number), _LOCAL_SIZE_BYTES, function))
        local_bytes = number.value
        occupancy = driver.cuOccupancyMaxActiveBlocksPerMultiprocessor
        _check_driver(driver, occupancy(ctypes.byref(number), function, block, ctypes.c_size_t(0)))
    resident = min(number.value, most) * torch.cuda.get_device_properties(device).multi_processor_count
    return Kernel(function, device, block, max(resident, 1), local_bytes)


def _context(device: torch.device) -> ctypes.CDLL:
    """The driver, with torch's context of the current device, which must be `device`, current in this thread."""
    driver = _driver()
    context, number = ctypes.c_void_p(), ctypes.c_int()
    _check_driver(driver, driver.cuCtxGetCurrent(ctypes.byref(context)))
    if not context.value:  # a thread that has not called CUDA yet, as autograd's may be
        _check_driver(driver, driver.cuDeviceGet(ctypes.byref(number), device.index))
        _check_driver(driver, driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), number))
        _check_driver(driver, driver.cuCtxSetCurrent(context))
    return driver


@lru_cache(maxsize=1)
def _driver() -> ctypes.CDLL:
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError as error:
        raise CudaError(f"the driver of the GPU was not found: {error}") from error
    _check_driver(driver, driver.cuInit(0))
    return driver


def _check_driver(driver: ctypes.CDLL, code: int) -> None:
    if code:
        text = ctypes.c_char_p()
        driver.cuGetErrorString(code, ctypes.byref(text))
        raise CudaError(f"the driver of the GPU: {(text.value or b'unknown error').decode()} ({code})")
