"""Changes to files that keep what surrounds their content whole: archives, checksums, opcodes."""

from __future__ import annotations

import gzip
import io
import pickletools
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence

Bytewise = Callable[[bytes], bytes]
"""Changes some bytes, whatever they mean: the fuzzer's own way, or `havoc`."""

Mutator = Callable[[bytes, random.Random, Bytewise], bytes]
"""(a file, draws, changes of bytes) -> another file; raises only what `mutated` holds."""

_BROKEN = (
    ValueError, OSError, EOFError, KeyError, IndexError, RuntimeError, NotImplementedError,
    zlib.error, struct.error, zipfile.BadZipFile,
)  # fmt: skip
_NUMBERS = (0, 1, 2, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 129, 254, 255)
_LARGE = (0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63)
_MOST = 1 << 16


def mutated(data: bytes, mutator: Mutator, rng: random.Random, bytewise: Bytewise) -> bytes:
    """One change, by structure where the file still has it, else of bytes; one in four is always
    of bytes."""
    if rng.random() < 0.75:
        try:
            return mutator(data, rng, bytewise)
        except _BROKEN:
            pass
    return bytewise(data)


def havoc(rng: random.Random, words: Sequence[bytes]) -> Bytewise:
    """A few random changes: bits, numbers, words, pieces moved, doubled, removed, the end cut."""

    def change(data: bytes) -> bytes:
        out = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            _change(out, rng, words)
        return bytes(out[:_MOST])

    return change


def _change(out: bytearray, rng: random.Random, words: Sequence[bytes]) -> None:
    at = rng.randint(0, len(out))
    size = min(rng.choice((1, 2, 4, 8, 32)), len(out) - at)
    kind = rng.randrange(8 if words else 7)
    if kind == 0 and at < len(out):
        out[at] ^= 1 << rng.randrange(8)
    elif kind == 1 and at < len(out):
        out[at] = rng.choice(_NUMBERS)
    elif kind == 2:
        form = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
        limit = (1 << 8 * struct.calcsize(form)) - 1
        number = rng.choice((*_NUMBERS, *_LARGE)) & limit
        out[at : at + struct.calcsize(form)] = struct.pack(form, number)
    elif kind == 3:
        del out[at : at + size]
    elif kind == 4:
        out[at:at] = out[at : at + size] * rng.choice((1, 1, 3, 20))
    elif kind == 5:
        other = rng.randint(0, len(out))
        out[other:other] = out[at : at + size]
    elif kind == 6 and rng.random() < 0.2:
        del out[at:]
    elif kind == 7:
        word = rng.choice(words)
        end = at + (len(word) if rng.random() < 0.5 else 0)
        out[at:end] = word


# --- containers -------------------------------------------------------------------------------


def behind(n: int, inner: Mutator) -> Mutator:
    """For inputs whose first bytes choose how the rest is read."""

    def mutate(data: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
        front = bytearray(data[:n].ljust(n, b"\0"))
        if rng.random() < 0.05:
            front[rng.randrange(n)] = rng.randrange(256)
        return bytes(front) + mutated(data[n:], inner, rng, bytewise)

    return mutate


def plain(data: bytes, _rng: random.Random, bytewise: Bytewise) -> bytes:
    """No structure."""
    return bytewise(data)


def inside_gzip(data: bytes, _rng: random.Random, bytewise: Bytewise) -> bytes:
    """The content of a gzip file."""
    return gzip.compress(bytewise(gzip.decompress(data)), 1, mtime=0)


def inside_zstd(data: bytes, _rng: random.Random, bytewise: Bytewise) -> bytes:
    """The content of a zstd file."""
    import pyarrow

    with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
        content = stream.read(1 << 20)
    return bytes(pyarrow.compress(bytewise(content), "zstd", asbytes=True))


def inside_zip(*inner: Mutator) -> Mutator:
    """The members of a zip archive, now and then their names, which come, go or stand twice."""

    def mutate(data: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        at = rng.randrange(len(members))
        name, content = members[at]
        kind = rng.random()
        if kind < 0.9:
            members[at] = name, mutated(content, rng.choice(inner or (plain,)), rng, bytewise)
        elif kind < 0.94:
            members[at] = bytewise(name.encode()).decode("utf-8", "replace"), content
        elif kind < 0.97:
            members.append((rng.choice(members)[0], content))
        else:
            del members[at]
        return zipped(members, zipfile.ZIP_DEFLATED if rng.random() < 0.5 else zipfile.ZIP_STORED)

    return mutate


def zipped(members: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive of names and contents."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def in_npy(data: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    """An array file: the text of its header, whose length stays right, or what follows it."""
    magic = data.index(b"\x93NUMPY")
    (length,) = struct.unpack_from("<H", data, magic + 8)
    header, body = data[magic + 10 : magic + 10 + length], data[magic + 10 + length :]
    if rng.random() < 0.5:
        header = bytewise(header)[:0xFFFF]
    elif b"|O" in header:
        body = opcodes(body, rng, bytewise)
    else:
        body = bytewise(body)
    return data[: magic + 8] + struct.pack("<H", len(header)) + header + body


def in_png(data: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    """One chunk of a PNG file, whose checksum stays right; packed pixels are unpacked for it."""
    chunks, at = [], 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    which = rng.randrange(len(chunks))
    kind, body = chunks[which]
    if kind == b"IDAT" and rng.random() < 0.5:
        body = zlib.compress(bytewise(zlib.decompressobj().decompress(body, 1 << 20)), 1)
    elif rng.random() < 0.9:
        body = bytewise(body)
    else:
        kind = bytewise(kind)[:4].ljust(4, b"a")
    chunks[which] = kind, body
    if rng.random() < 0.1:
        chunks.insert(rng.randrange(len(chunks)), rng.choice(chunks))
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def in_mat(data: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    """One variable of a MATLAB file, behind its header; a packed one is unpacked for it."""
    at = 128
    spans = []
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        spans.append((kind, at, at + 8 + size))
        at += 8 + size
    kind, begin, end = rng.choice(spans)
    body = data[begin + 8 : end]
    packed = kind == 15
    body = zlib.compress(bytewise(zlib.decompress(body)), 1) if packed else bytewise(body)
    return data[:begin] + struct.pack("<II", kind, len(body)) + body + data[end:]


# --- texts and pickles ------------------------------------------------------------------------


def lines_of(words: Sequence[bytes]) -> Mutator:
    """Lines of a text: their fields become words, or lines are doubled, swapped, removed."""

    def mutate(data: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
        lines = data.split(b"\n")
        at = rng.randrange(len(lines))
        kind = rng.random()
        if kind < 0.35:
            fields = re.split(rb"([,:])", lines[at])
            fields[rng.randrange(len(fields))] = rng.choice(words)
            lines[at] = b"".join(fields)
        elif kind < 0.7:
            lines[at] = bytewise(lines[at])
        elif kind < 0.8:
            lines.insert(rng.randrange(len(lines) + 1), lines[at])
        elif kind < 0.9:
            other = rng.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            del lines[at]
        return b"\n".join(lines)[:_MOST]

    return mutate


_SPLICED = (
    b"]", b"}", b")", b"(", b"N", b"\x88", b"0", b"2", b"e", b"a", b"s", b"u", b"t", b"l", b"d",
    b"\x85", b"\x86", b"\x87", b"\x94", b"\x81", b"R", b"b", b".", b"K\x05", b"J\xff\xff\xff\x7f",
    b"\x8a\x08" + b"\xff" * 8, b"C\x02ab", b"\x8c\x01a", b"h\x00", b"h\x01", b"h\x02", b"q\x01",
    b"\x8f", b"\x90", b"\x91", b"\x92", b"\x93", b"\x95" + bytes(8), b"\x96\x02" + bytes(9),
    b"\x97", b"\x98", b"cos\nsystem\n", b"cbuiltins\neval\n", b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n", b"c_codecs\nencode\n", b"cnumpy.core.multiarray\n_reconstruct\n",
    b"cnumpy.core.multiarray\nscalar\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n", b"P1\n", b"Q", b"i__main__\nx\n",
    b"o", b"G" + b"\x7f\xf8" + bytes(6), b"X\x04\x00\x00\x00\xf0\x9f\x90\x88",
)  # fmt: skip


def opcodes(data: bytes, rng: random.Random, bytewise: Bytewise) -> bytes:
    """The operations of a pickle: doubled, swapped, removed, new between, arguments changed."""
    starts = [at for _, _, at in pickletools.genops(data)]
    steps = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(steps))
        kind = rng.randrange(6)
        if kind == 0:
            steps.insert(at, rng.choice(_SPLICED) * rng.choice((1, 1, 1, 3, 300)))
        elif kind == 1:
            steps.insert(at, rng.choice(steps))
        elif kind == 2:
            other = rng.randrange(len(steps))
            steps[at], steps[other] = steps[other], steps[at]
        elif kind == 3 and len(steps) > 1:
            del steps[at]
        elif kind == 4:
            begin, end = sorted((at, rng.randrange(len(steps))))
            steps[end:end] = steps[begin : begin + 30]
        else:
            steps[at] = steps[at][:1] + bytewise(steps[at][1:])
    return b"".join(steps)[:_MOST]
