# SPDX-License-Identifier: Apache-2.0
"""Pickles of strangers: what is in them, without running any of it, in bounded time and memory."""

import collections
import os
import pickle
import struct
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pickles import Calls, chumpy_array, chumpy_select, csc_matrix, python2_pickle, python3_pickle

from ikol.errors import FileFormatError
from ikol.restricted_pickle import ChumpyObject, ObjectArray, PickleLimits, load_pickle, read_pickle, resolve_array

PLAIN: dict[str, object] = {
    "numbers": [1, -2, 3.5, 2**70, True, None, 1e300, complex(1.0, -2.0)],
    "texts": ("", "é", b"\x00\xff", bytearray(b"ab")),
    "nested": {"a": [{"b": ({1, 2}, frozenset({"c"}))}]},
    "ordered": collections.OrderedDict(z=1, a=2),
    "default": collections.defaultdict(list, {3: [4]}),
}
ARRAYS: dict[str, np.ndarray] = {
    "float64": np.linspace(0, 1, 7),
    "float32": np.ones((2, 3, 4), np.float32),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(4, dtype=">i4"),
    "strided": np.arange(20).reshape(4, 5)[::2, 1:],
    "empty": np.zeros((0, 3)),
    "none": np.array(3.0),
    "flags": np.array([True, False]),
    "texts": np.array(["ab", "é"]),
    "bytes": np.array([b"ab", b"c"]),
    "unsigned": np.array([2**32 - 1], np.uint32),
}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_what_was_written(protocol: int) -> None:
    got = read_pickle(pickle.dumps(PLAIN, protocol), "a.pkl")
    assert got == PLAIN


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_are_what_was_written(protocol: int, name: str) -> None:
    got = read_pickle(pickle.dumps({"x": [ARRAYS[name], np.float32(2.5)]}, protocol), "a.pkl")
    assert isinstance(got, dict)
    array, scalar = got["x"]
    np.testing.assert_array_equal(array, ARRAYS[name], strict=True)
    assert scalar == np.float32(2.5)
    assert not array.flags.writeable or array.size == 0


def test_python_2_files_are_read() -> None:
    value = {"kind": "blå", "f": np.arange(6, dtype=np.uint32).reshape(2, 3), "of": [1, 2.5, None, True], "s": {"u"}}
    got = read_pickle(python2_pickle(value), "a.pkl")
    assert isinstance(got, dict)
    np.testing.assert_array_equal(got["f"], value["f"], strict=True)
    assert {key: got[key] for key in ("kind", "of", "s")} == {key: value[key] for key in ("kind", "of", "s")}


def test_escaped_byte_strings_of_protocol_0_are_read() -> None:
    assert read_pickle(b"(S'a\\xff\\n'\nS\"b\"\nt.", "a.pkl") == ("a\xff\n", "b")


def test_the_same_object_stays_the_same() -> None:
    shared = [1.0]
    got = read_pickle(pickle.dumps([shared, shared]), "a.pkl")
    assert isinstance(got, list)
    assert got[0] is got[1]


@pytest.mark.parametrize("write", [python2_pickle, python3_pickle])
def test_objects_of_chumpy_and_scipy_become_arrays(write: object) -> None:
    dense = np.where(np.arange(20).reshape(4, 5) % 3 == 0, np.arange(20.0).reshape(4, 5), 0.0)
    assert callable(write)
    got = read_pickle(write({"a": chumpy_array(dense), "b": chumpy_select(dense), "c": csc_matrix(dense)}), "a.pkl")
    assert isinstance(got, dict)
    assert isinstance(got["a"], ChumpyObject)
    for key, value in got.items():
        np.testing.assert_array_equal(resolve_array(value, key, "a.pkl", 1 << 20), dense)


def test_chumpy_and_scipy_are_not_imported() -> None:
    data = python2_pickle({"a": chumpy_array(np.ones(2)), "c": csc_matrix(np.eye(2))})
    code = (
        "import sys; from ikol.restricted_pickle import *;"
        f"d = read_pickle({data!r}, 'a'); resolve_array(d['c'], 'c', 'a', 9999); resolve_array(d['a'], 'a', 'a', 9999);"
        "assert not {'chumpy', 'scipy'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_real_scipy_matrix_of_today_is_read() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.diag([1.0, 0.0, 3.0])[:, :2]
    for name in ("csc_matrix", "csr_matrix", "coo_matrix", "csc_array", "coo_array"):
        got = read_pickle(pickle.dumps(getattr(sparse, name)(dense)), "a.pkl")
        np.testing.assert_array_equal(resolve_array(got, "J", "a.pkl", 1000), dense, name)


# ---- hostile files: `os.system` and its like would make a file, and never do


def touch(path: Path) -> str:
    return f"touch {path}"


def hostile(name: str, mark: Path) -> bytes:
    """Return a pickle that makes the file `mark` when Python's own reader opens it."""
    command = touch(mark)
    text = f"open({str(mark)!r}, 'w')"
    plain = {
        "system": Calls(os.system, command),
        "nested": {"v_template": [np.ones(3), Calls(os.system, command)]},
        "eval": Calls(eval, text),
        "exec": Calls(exec, text),
        "import": Calls(__import__, "os"),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "open": Calls(open, str(mark), "w"),
        "subprocess": Calls(subprocess.call, command.split()),
        "as a key": {Calls(os.system, command): 1},
    }
    if name in plain:
        return pickle.dumps(plain[name])
    shell = f"(S'{command}'\ntR.".encode()
    by_hand = {
        "posix": b"cposix\nsystem\n" + shell,
        "instance": f"(S'{command}'\nios\nsystem\n.".encode(),
        "object": f"(cos\nsystem\nS'{command}'\no.".encode(),
        "numpy's eval": f"cnumpy.core.multiarray\neval\n(S'{text}'\ntR.".encode(),
        "dotted": b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x09os.system\x93" + shell,
        "numpy load": f"cnumpy\nload\n(S'{mark}'\ntR.".encode(),
        "numpy gadget": f"cnumpy.testing._private.utils\nrunstring\n(S'{text}'\n}}tR.".encode(),
        "numpy f2py": f"cnumpy.f2py\ncompile\n(S'{text}'\ntR.".encode(),
        "chumpy dotted": b"\x80\x04\x8c\x06chumpy\x8c\x09os.system\x93" + shell,
        "scipy gadget": b"cscipy.sparse.csc\nos\n.",
        "attribute of a stand-in": b"cchumpy.ch\nCh\n)\x81}S'__class__'\ncos\nsystem\nsb.",
        "state of a global": b"cnumpy\nndarray\n}S'x'\nI1\nsb.",
        "numpy dtype of a module": b"cnumpy\ndtype\n(S'O'\ntRcos\nsystem\nb.",
        "extension": b"\x82\x01.",
        "persistent id": b"Pabc\n.",
        "persistent object": b"I1\nQ.",
        "out of band": b"\x80\x05\x97.",
    }
    return by_hand[name]


SYSTEM = r"names (posix|nt|os)\.system, which is not read: a pickle can run code"
HOSTILE = {
    "system": SYSTEM,
    "nested": SYSTEM,
    "eval": r"names builtins\.eval",
    "exec": r"names builtins\.exec",
    "import": r"names builtins\.__import__",
    "getattr": r"names builtins\.getattr",
    "open": r"names _?io\.open",
    "subprocess": r"names subprocess\.call",
    "as a key": SYSTEM,
    "posix": SYSTEM,
    "instance": "pickle instruction INST",
    "object": SYSTEM,
    "numpy's eval": r"names numpy\.core\.multiarray\.eval",
    "dotted": r"names numpy\.core\.multiarray\.os\.system",
    "numpy load": r"names numpy\.load",
    "numpy gadget": r"names numpy\.testing\._private\.utils\.runstring",
    "numpy f2py": r"names numpy\.f2py\.compile",
    "chumpy dotted": r"names chumpy\.os\.system",
    "scipy gadget": r"names scipy\.sparse\.csc\.os",
    "attribute of a stand-in": SYSTEM,
    "state of a global": "changes a Opaque from outside",
    "numpy dtype of a module": SYSTEM,
    "extension": "pickle instruction EXT1",
    "persistent id": "pickle instruction PERSID",
    "persistent object": "pickle instruction BINPERSID",
    "out of band": "pickle instruction NEXT_BUFFER",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_a_file_names_is_run(tmp_path: Path, name: str) -> None:
    mark = tmp_path / "ran"
    with pytest.raises(FileFormatError, match=HOSTILE[name]):
        read_pickle(hostile(name, mark), "evil.pkl")
    assert not mark.exists()


def test_the_hostile_file_does_run_with_pythons_own_reader(tmp_path: Path) -> None:
    pickle.loads(hostile("system", tmp_path / "ran"))
    assert (tmp_path / "ran").exists()


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
FLOATS = b"cnumpy\ndtype\n(S'f8'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"


def array_of(shape: bytes, content: bytes, dtype: bytes = FLOATS) -> bytes:
    return ARRAY + b"(I1\n(" + shape + b"t" + dtype + b"I00\n" + content + b"tb."


def laughs() -> bytes:
    """Return ten lists of ten of the last: 10^30 values, written out."""
    data = b"]" + b"K\x01a" + b"q\x00"
    for level in range(30):
        data += b"0]" + b"(" + bytes([ord("h"), level]) * 10 + b"e" + b"q" + bytes([level + 1])
    return data + b"."


def text_copied_again_and_again() -> bytes:
    """Return 2000 arrays out of one text of a megabyte: two gigabytes, of a file of one."""
    text = b"T" + struct.pack("<i", 1 << 20) + b"a" * (1 << 20)
    one = b"c_codecs\nencode\n(h\x00S'latin1'\ntR"
    return b"(" + text + b"q\x00" + one * 2000 + b"l."


WRONG = {
    "empty": (b"", "is not a pickle that can be read, it may be truncated: it has no end"),
    "text": (b"hello world", "is not a pickle"),
    "zip": (b"PK\x03\x04" + bytes(30), "has the pickle instruction PERSID"),
    "truncated": (pickle.dumps(ARRAYS)[:300], "is not a pickle that can be read, it may be truncated"),
    "no value": (b".", "it leaves 0 values"),
    "a mark": (b"(.", "it leaves 1 values"),
    "negative memo": (b"h\x05.", "is not a pickle"),
    "huge memo index": (b"Nr\xff\xff\xff\xff0j\xff\xff\xff\xff.", None),
    "huge shape": (array_of(b"I1099511627775\n", b"S''\n"), "announces 8796093022200 bytes and holds 0"),
    "impossible shape": (array_of(b"I-1\n", b"S''\n"), "impossible shape"),
    "shape beyond all": (array_of(b"L" + b"9" * 40 + b"L\n", b"S''\n"), "impossible shape"),
    "64 axes": (array_of(b"I1\n" * 64, b"S'aaaaaaaa'\n"), "impossible shape"),
    "shorter content": (array_of(b"I2\n", b"S'aaaaaaaa'\n"), "announces 16 bytes and holds 8"),
    "objects in bytes": (
        array_of(b"I1\n", b"S'aaaaaaaa'\n", b"cnumpy\ndtype\n(S'O8'\nI0\nI1\ntR"),
        "an array of objects does not hold as many",
    ),
    "structured": (
        array_of(b"I1\n", b"S'a'\n", b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR"),
        "an array has the type 'V8'; numbers and texts are read",
    ),
    "empty texts": (
        array_of(b"I1099511627775\n", b"S''\n", b"cnumpy\ndtype\n(S'U0'\nI0\nI1\ntR"),
        "an array has the type 'U0'",
    ),
    "dtype by a list": (b"cnumpy\ndtype\n(((S'a'\nS'f8'\ntltR.", "structured or unknown type"),
    "array without content": (ARRAY + b".", "an array has no content"),
    "billion laughs": (laughs(), "holds more than 20000000 values, written out"),
    "copies": (text_copied_again_and_again(), "copies its own parts too often"),
    "deep list": (b"]" * 5000 + b"a" * 4999 + b".", "nests containers more than 100 deep"),
    "deep tuple": (b")" + b"\x85" * 50_000 + b".", "nests containers more than 100 deep"),
    "itself": (b"]q\x00h\x00a.", "holds a container that holds itself"),
    "slow hash": (b"}" + b")" + b"2\x86" * 60 + b"Ns.", "has a tuple as a key"),
    "array as a key": (b"}" + array_of(b"I1\n", b"S'aaaaaaaa'\n")[:-1] + b"Ns.", "has a PendingArray as a key"),
    "chosen keys": (b"}L" + str(2**61).encode() + b"L\nNs.", "has a int as a key; texts and small whole numbers"),
    "long decimal": (b"L" + b"9" * 100_000 + b"L\n.", "is not a pickle"),
    "calls a number": (b"I1\n)R.", "a int is called"),
    "odd dictionary": (b"(I1\nd.", "a key has no value"),
    "append to a number": (b"I1\nI2\na.", "items are appended to a int"),
}


@pytest.mark.parametrize("name", WRONG)
def test_damaged_and_greedy_files_are_refused_in_bounded_time_and_memory(name: str) -> None:
    data, sentence = WRONG[name]
    tracemalloc.start()
    start = time.process_time()
    try:
        if sentence is None:
            assert read_pickle(data, "a.pkl") is None
        else:
            with pytest.raises(FileFormatError, match=sentence):
                read_pickle(data, "a.pkl")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # the largest, 50 000 tuples, takes 1.5 s here under tracemalloc; without its bound none of the last ones ends
    assert time.process_time() - start < 10
    # four times the file for copies, and 100 bytes for each of its instructions
    assert peak < 32 << 20, f"{peak} bytes"


def test_limits_are_kept(tmp_path: Path) -> None:
    data = pickle.dumps([1.5] * 100)
    with pytest.raises(FileFormatError, match=r"a.pkl takes more than 50 steps to read"):
        read_pickle(data, "a.pkl", PickleLimits(max_steps=50))
    with pytest.raises(FileFormatError, match=r"a.pkl is larger than 50 bytes"):
        read_pickle(data, "a.pkl", PickleLimits(max_bytes=50))
    (tmp_path / "a.pkl").write_bytes(data)
    with pytest.raises(FileFormatError, match=r"a.pkl is larger than 0 MiB"):
        load_pickle(tmp_path / "a.pkl", PickleLimits(max_bytes=50))
    with pytest.raises(FileFormatError, match=r"holds more than 50 values"):
        read_pickle(data, "a.pkl", PickleLimits(max_items=50))


def test_every_truncation_and_every_changed_byte_gives_a_value_or_a_sentence() -> None:
    whole = python2_pickle({"a": chumpy_array(np.ones(2)), "c": csc_matrix(np.eye(2)), "x": np.arange(3.0)})
    generator = np.random.default_rng(0)
    changed = []
    for place in range(len(whole)):
        other = bytearray(whole)
        other[place] = int(generator.integers(256))
        changed.append(bytes(other))
    for data in [whole[:end] for end in range(len(whole))] + changed:
        try:
            got = read_pickle(data, "a.pkl")
            if isinstance(got, dict):
                for key, value in got.items():
                    resolve_array(value, str(key), "a.pkl", 1 << 16)
        except FileFormatError:
            continue


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pkl")
    for name in ("gone.pkl", "pipe.pkl", "."):
        with pytest.raises(FileFormatError, match="there is no file"):
            load_pickle(tmp_path / name)


def test_arrays_of_objects_are_lists_and_never_arrays() -> None:
    got = read_pickle(pickle.dumps({"names": np.array([{"a": 1}, "b"], dtype=object)}), "a.pkl")
    assert isinstance(got, dict)
    assert isinstance(got["names"], ObjectArray)
    assert got["names"].items == [{"a": 1}, "b"]
    with pytest.raises(FileFormatError, match="names is not an array: it is an array of Python objects"):
        resolve_array(got["names"], "names", "a.pkl", 1000)
