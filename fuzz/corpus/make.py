"""Writes the seeds of the fuzz targets, by the libraries whose files they stand for.

    python fuzz/corpus/make.py        (needs numpy, ml_dtypes and safetensors)

The files are committed: a run of the fuzzer needs no Python. Times in archives are fixed, so that
the same versions write the same bytes.
"""

import io
import json
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np

HERE = Path(__file__).parent
RNG = np.random.default_rng(0)


def put(target, name, data):
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)


def npy(array, version=None, allow_pickle=False):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version, allow_pickle=allow_pickle)
    return file.getvalue()


def archive(members, method=zipfile.ZIP_STORED, comment=b""):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as out:
        for name, data in members.items():
            out.writestr(zipfile.ZipInfo(name), data, compress_type=method)
        out.comment = comment
    return file.getvalue()


def tensors(entries, metadata=None, data=b""):
    header = {"__metadata__": metadata} if metadata is not None else {}
    header.update(entries)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def numbers(shape, kind):
    values = RNG.normal(size=shape) * 4
    return np.abs(values).astype(kind) if np.dtype(kind).kind in "ub" else values.astype(kind)


KINDS = ["<f8", ">f8", "<f4", ">f4", "<f2", ">f2", "|i1", "<i2", ">i4", "<i8", "|u1", "<u2", ">u4", "<u8", "|b1"]
for kind in KINDS:
    word = kind.translate({ord("<"): "le-", ord(">"): "be-", ord("|"): ""})
    put("npy", f"{word}.npy", npy(numbers((5, 3), kind)))
    put("masks", f"{word}.npy", npy(np.abs(numbers((4, 2), kind))))
put("npy", "bf16.npy", npy(numbers((5, 3), ml_dtypes.bfloat16)))
put("npy", "fortran.npy", npy(np.asfortranarray(numbers((4, 3), "<f8"))))
put("npy", "version-2.npy", npy(numbers((2, 2), "<f4"), (2, 0)))
put("npy", "version-3.npy", npy(numbers((2, 2), "<f4"), (3, 0)))
for shape in [(), (0,), (3,), (0, 4), (1, 1), (2, 3, 2), (1,) * 32]:
    word = "x".join(map(str, shape[:4])) or "scalar"
    put("npy", f"shape-{word}.npy", npy(numbers(shape, "<f4")))
put("npy", "structured.npy", npy(np.zeros(2, [("a", "<f4", (2,)), ("b", [("c", "<i2")])])))
put("npy", "objects.npy", npy(np.array([{}, None], object), allow_pickle=True))
put("npy", "long-double.npy", npy(np.ones(2, np.longdouble)))
put("npy", "complex.npy", npy(np.ones(2, complex)))
put("npy", "text.npy", npy(np.array(["a", "bc"])))

arrays = {f"{name}.npy": npy(numbers(shape, kind)) for name, shape, kind in [
    ("rows", (6, 3), "<f4"), ("flat", (7,), "<f8"), ("scalar", (), ">f2"), ("none", (0, 3), "<f8")]}
one = {"rows.npy": arrays["rows.npy"]}
put("npz", "stored.npz", archive(arrays))
put("npz", "deflated.npz", archive(arrays, zipfile.ZIP_DEFLATED))
put("npz", "one.npz", archive(one))
put("npz", "one-deflated.npz", archive(one, zipfile.ZIP_DEFLATED, b"a comment"))
put("npz", "zeros.npz", archive({"rows.npy": npy(np.zeros((64, 64), "<f4"))}, zipfile.ZIP_DEFLATED))
put("npz", "bzip2.npz", archive(one, zipfile.ZIP_BZIP2))
put("npz", "lzma.npz", archive(one, zipfile.ZIP_LZMA))
put("npz", "empty.npz", archive({}))
put("npz", "no-array.npz", archive({"notes.txt": b"none"}))
big = io.BytesIO()
with zipfile.ZipFile(big, "w") as out:
    with out.open("rows.npy", "w", force_zip64=True) as member:
        member.write(arrays["rows.npy"])
put("npz", "zip64.npz", big.getvalue())
stream = io.BytesIO()
stream.seekable = lambda: False
with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as out:
    out.writestr(zipfile.ZipInfo("rows.npy"), arrays["rows.npy"], zipfile.ZIP_DEFLATED)
put("npz", "streamed.npz", stream.getvalue())
for kind in ["<i8", "|u1", "<f8"]:
    dims = np.array([2, 0, 1]).astype(kind)
    word = kind.strip("<|")
    put("masks", f"dims-{word}.npz", archive({"row_dims.npy": npy(dims)}, zipfile.ZIP_DEFLATED))

size = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1}
entries, at = {}, 0
for kind, width in size.items():
    entries[f"t.{kind}"] = {"dtype": kind, "shape": [2, 3], "data_offsets": [at, at + 6 * width]}
    at += 6 * width
put("safetensors", "all.safetensors", tensors(entries, {"format": "pt"}, b"\1" * at))
put("safetensors", "one.safetensors", tensors({"rows": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]}}, None, bytes(32)))
put("safetensors", "scalar.safetensors", tensors({"s": {"dtype": "F64", "shape": [], "data_offsets": [0, 8]}}, None, bytes(8)))
put("safetensors", "none.safetensors", tensors({"n": {"dtype": "F32", "shape": [0, 5], "data_offsets": [0, 0]}}))
put("safetensors", "metadata.safetensors", tensors({}, {"a": "b"}))
mask = {"gates": {"dtype": "BOOL", "shape": [4, 2], "data_offsets": [0, 8]}}
put("masks", "bool.safetensors", tensors(mask, None, b"\0\1" * 4))

for name, atoms, rows, gates in [
    ("circle", [("circle", "harmonics:1")], 3, "all"),
    ("mixed", [("torus", "harmonics:1"), ("sphere", "spherical:2"), ("euclidean:2", "monomials:2")], 22, "top-k:2"),
    ("file", [("circle", "harmonics:2")], 5, "gates.npz:on"),
]:
    note = {"atoms": [{"topology": t, "basis": b} for t, b in atoms], "gates": gates, "kappa": 0.5}
    decoder = {"decoder": {"dtype": "F64", "shape": [rows, 2], "data_offsets": [0, 16 * rows]}}
    file = tensors(decoder, {"dictionary": json.dumps(note)}, RNG.normal(size=(rows, 2)).tobytes())
    put("model", f"{name}.safetensors", file)

week = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
put("labels", "plain.txt", ("\n".join(week) + "\n").encode())
put("labels", "mark-crlf.txt", b"\xef\xbb\xbf" + ("\r\n".join(week) + "\r\n\r\n").encode())
put("labels", "utf-16.txt", "\n".join(week).encode("utf-16"))
put("labels", "utf-16-bare.txt", "\n".join(week).encode("utf-16-be"))
put("labels", "latin-1.txt", "März\nMai\n".encode("latin-1"))
put("labels", "hostile.txt", "a\x1b[2J\n\u202eb\n\u009b31mc\n\ufeffd\n月\n".encode())
