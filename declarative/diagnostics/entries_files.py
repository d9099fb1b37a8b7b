"""E0: files."""

from __future__ import annotations

from declarative.diagnostics.entry import Entry

ENTRIES = (
    Entry("E001", "the file cannot be read", "The path does not exist, is a folder, or may not be read by this user."),
    Entry(
        "E002", "the file is not text", "A program is UTF-8 text. The file holds bytes that are not, or a zero byte."
    ),
    Entry(
        "E003",
        "the file is too long",
        "A program states a problem in a page or two; one with a million characters carries data. Data enter as "
        "parameters when the layer is called, and repeated terms are written once, with `sum(... for t in a..b)`.",
    ),
    Entry(
        "E004",
        "the output cannot be written",
        "The path is a folder, lies in a folder that does not exist or may not be written, or would overwrite a file "
        "that the compiler did not write. Files are replaced as a whole: after a failure the old one is still there.",
    ),
)
