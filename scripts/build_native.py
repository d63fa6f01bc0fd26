# SPDX-License-Identifier: Apache-2.0
"""Build the compiled kernels for every platform with the compiler of the `ziglang` package.

Needs `pip install ikol[build-native]`. Writes ikol/solver/native/lib/ and the SHA-256 of each library. One C++ source
and its headers a kernel, no C++ library, no system compiler.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "ikol" / "solver" / "native"
GENERAL = ("lanes.h", "general_rows.h", "general_problem.h", "general_pose.h", "general_factor.h", "entry.h")
LINEARISE = ("lanes.h", "general_rows.h", "general_problem.h", "general_pose.h", "general_linearise.h")
SOURCES = {  # the last one is compiled, the others are what it includes
    "tree": ("lanes.h", "entry.h", "tree_newton.cpp"),
    "general": (*GENERAL, "tree_general.cpp"),
    "adjoint": (*GENERAL, "general_adjoint.h", "tree_adjoint.cpp"),
    "linearise": (*LINEARISE, "entry.h", "tree_linearise.cpp"),
    "band": ("lanes.h", "entry.h", "band.cpp"),
}
COMMON = (
    *("-std=c++17", "-O3", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-fno-sanitize=all", "-g0"),
    # NaN keeps its meaning (bad input is found by it); square roots and divisions need no errno and no traps
    *("-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros", "-ffp-contract=fast", "-fno-stack-protector"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables"),
    *("-Wall", "-Wextra", "-Werror", "-Wno-psabi"),
    "-Wno-bitwise-instead-of-logical",  # one source for masks that are vectors and masks that are bool
)
X86 = {"base": ("-mcpu=x86_64", 16), "avx2": ("-mcpu=x86_64_v3", 32), "avx512": ("-mcpu=x86_64_v4", 64)}
ARM = {"base": (None, 16)}
PLATFORMS = {
    # glibc 2.17 and macOS 11: what the oldest wheels of torch ask for
    "linux-x86_64": ("x86_64-linux-gnu.2.17", "libikol_{}.so", X86),
    "linux-aarch64": ("aarch64-linux-gnu.2.17", "libikol_{}.so", ARM),
    "macos-arm64": ("aarch64-macos.11.0", "libikol_{}.dylib", ARM),
    # without AVX-512, which makes the libraries half as large again
    "windows-x86_64": ("x86_64-windows-gnu", "ikol_{}.dll", {name: X86[name] for name in ("base", "avx2")}),
}


def source_hash(kernel: str) -> str:
    """SHA-256 of the sources, one after the other, with Unix line ends."""
    content = b"".join((FOLDER / source).read_bytes() for source in SOURCES[kernel])
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()


def build(kernel: str, platform: str, out: Path) -> Path:
    """Compile all variants of one kernel for one platform and link them."""
    target, pattern, variants = PLATFORMS[platform]
    file_name = pattern.format(kernel)
    zig = (sys.executable, "-m", "ziglang", "c++", "-target", target)
    library = out / platform / file_name
    library.parent.mkdir(parents=True, exist_ok=True)
    position = () if "windows" in target else ("-fPIC",)
    with tempfile.TemporaryDirectory() as scratch:
        objects: list[str] = []
        for variant, (cpu, lane_bytes) in variants.items():
            made = str(Path(scratch) / f"{variant}.o")
            defines = [f"-DIKOL_VARIANT={variant}", f"-DIKOL_LANES_BYTES={lane_bytes}"]
            if variant == "base":
                defines += [] if "avx512" in variants else ["-DIKOL_NO_AVX512"]
                defines += ["-DIKOL_ENTRY", f'-DIKOL_SOURCE_HASH="{source_hash(kernel)}"']
            arch = [cpu] if cpu else []
            # relative, so that no path of this machine gets into the library
            command = [*zig, *arch, *COMMON, *position, *defines, "-c", SOURCES[kernel][-1], "-o", made]
            subprocess.run(command, check=True, cwd=FOLDER)
            objects.append(made)
        # linked as C: nothing of the C++ library is used
        link = (sys.executable, "-m", "ziglang", "cc", "-target", target)
        # without a name of its own the library would carry the path that it was built at
        name = (f"-Wl,-install_name,@rpath/{file_name}",) if "macos" in target else ()
        subprocess.run([*link, "-shared", "-s", "-O3", *name, *objects, "-o", str(library)], check=True)
    for extra in library.parent.iterdir():
        if extra.suffix not in {".so", ".dylib", ".dll"}:
            extra.unlink(missing_ok=True)  # import libraries and debug symbols, which nobody links against
    return library


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kernel", choices=sorted(SOURCES), action="append", help="only this one (default: all)")
    parser.add_argument("--platform", choices=sorted(PLATFORMS), action="append", help="only this one (default: all)")
    parser.add_argument("--out", type=Path, default=FOLDER / "lib")
    options = parser.parse_args()
    kernels: list[str] = options.kernel or sorted(SOURCES)
    platforms: list[str] = options.platform or sorted(PLATFORMS)
    chosen = [(kernel, platform) for kernel in kernels for platform in platforms]
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(build, kernel, platform, options.out) for kernel, platform in chosen]
        libraries = [future.result() for future in futures]
    listing = options.out / "SHA256.json"
    digests = json.loads(listing.read_text()) if listing.exists() else {}
    for (_, platform), library in zip(chosen, libraries, strict=True):
        digests[f"{platform}/{library.name}"] = hashlib.sha256(library.read_bytes()).hexdigest()
        print(f"{platform}/{library.name}: {library.stat().st_size >> 10} KB")
    listing.write_text(json.dumps(dict(sorted(digests.items())), indent=2) + "\n")


if __name__ == "__main__":
    main()
