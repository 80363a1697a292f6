"""Persistent storage: records (entities), a journal (history) and blobs (bytes).

Nothing here depends on what the stored data means.
"""

from streamb.store.blobs import Blob, BlobStore, FsspecBlobs, open_blobs
from streamb.store.database import Database, memory_database, open_database
from streamb.store.idempotency import Idempotency, Remembered, keep
from streamb.store.journal import Entry, Journal
from streamb.store.records import Page, Record, RecordStore, every_record

__all__ = [
    "Blob",
    "BlobStore",
    "Database",
    "Entry",
    "FsspecBlobs",
    "Idempotency",
    "Journal",
    "Page",
    "Record",
    "RecordStore",
    "Remembered",
    "every_record",
    "keep",
    "memory_database",
    "open_blobs",
    "open_database",
]
