"""Documents: prose in files to rows of plain text.

Enters: a file or a folder of txt, md, html, docx and pdf.  Leaves: a folder of kind "source" whose
rows.jsonl `tunesmith data prepare` reads; each row is a chunk that knows its document, page and headings.
"""

from typing import Any

__all__ = ["DocumentsConfig", "DocumentsResult", "documents"]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that importing the room costs nothing."""
    if name == "documents":
        from tunesmith.data.documents.door import documents

        return documents
    if name in __all__:
        from tunesmith.data.documents import schema

        known = {"DocumentsConfig": schema.DocumentsConfig, "DocumentsResult": schema.DocumentsResult}
        return known[name]
    raise AttributeError(name)
