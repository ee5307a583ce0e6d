#!/usr/bin/env python3
"""Split the dictionary of Debian's dict-gcide package into documents: one entry, one line of JSON ({"text": ...}).

    gcide_documents.py FOLDER TRAIN.jsonl VALID.jsonl

FOLDER holds gcide.dict.dz and gcide.index. Every 50th entry by the hash of its text goes to VALID.jsonl (2 percent), so
the split does not depend on the order of the entries, and an entry that occurs twice lands on one side.
"""

import gzip
import json
import pathlib
import sys
import zlib

BASE64 = {character: value for value, character in enumerate(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}
VALIDATION_EVERY = 50


def decode_number(digits):
    """The dictd index writes numbers in base 64, most significant digit first."""
    value = 0
    for digit in digits:
        value = value * 64 + BASE64[digit]
    return value


def entries(folder):
    """Yields the text of each entry in the dictionary's order; several headwords may share one."""
    text = gzip.decompress((folder / "gcide.dict.dz").read_bytes())  # dictzip is gzip with an index
    places = set()
    for line in (folder / "gcide.index").read_bytes().splitlines():
        headword, offset, length = line.split(b"\t")[:3]
        if not headword.startswith(b"00-database"):  # notes about the file itself
            places.add((decode_number(offset), decode_number(length)))
    for offset, length in sorted(places):
        if offset + length > len(text):
            raise ValueError(f"gcide.index: an entry ends at byte {offset + length}, the text has {len(text)}")
        yield text[offset : offset + length].decode("utf-8", errors="replace").strip() + "\n"


def main():
    folder, train_path, validation_path = map(pathlib.Path, sys.argv[1:])
    counts = [0, 0]
    with open(train_path, "w", encoding="utf-8") as train, open(validation_path, "w", encoding="utf-8") as validation:
        for text in entries(folder):
            held_out = zlib.crc32(text.encode()) % VALIDATION_EVERY == 0
            counts[held_out] += 1
            json.dump({"text": text}, validation if held_out else train, ensure_ascii=False)
            (validation if held_out else train).write("\n")
    print(f"{counts[0]} entries for training, {counts[1]} for validation")


if __name__ == "__main__":
    main()
