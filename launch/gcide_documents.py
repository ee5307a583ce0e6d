#!/usr/bin/env python3
"""Print the entries of a dictionary of Debian's dict-* packages as documents, one line of JSON ({"text": ...}) each.

    gcide_documents.py /usr/share/dictd/gcide

reads gcide.dict.dz, the text, and gcide.index, which says where each headword's entry lies.
"""

import gzip
import json
import pathlib
import sys

BASE64 = {character: value for value, character in enumerate(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}


def decode_number(digits):
    """The dictd index writes numbers in base 64, most significant digit first."""
    value = 0
    for digit in digits:
        value = value * 64 + BASE64[digit]
    return value


def entries(path):
    """Yields the text of each entry in the dictionary's order; several headwords may share one."""
    text = gzip.decompress(pathlib.Path(f"{path}.dict.dz").read_bytes())  # dictzip is gzip with an index
    places = set()
    for line in pathlib.Path(f"{path}.index").read_bytes().splitlines():
        headword, offset, length = line.split(b"\t")[:3]
        if not headword.startswith(b"00-database"):  # notes about the file itself
            places.add((decode_number(offset), decode_number(length)))
    for offset, length in sorted(places):
        if offset + length > len(text):
            raise ValueError(f"{path}.index: an entry ends at byte {offset + length}, the text has {len(text)}")
        yield text[offset : offset + length].decode("utf-8", errors="replace").strip() + "\n"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.stdout.reconfigure(encoding="utf-8")  # whatever the locale says
    for text in entries(sys.argv[1]):
        print(json.dumps({"text": text}, ensure_ascii=False))


if __name__ == "__main__":
    main()
