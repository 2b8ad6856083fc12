"""The client of Planck, a document database.

>>> from planck import Client
>>> with Client("db.example:24010", user="ann", key=key, fingerprint=fingerprint) as client:
...     key = client.store("flights").insert({"carrier": "UA", "delay": 12})
...     for row in client.query("flights.filter(carrier = $1)", ["UA"]):
...         print(row.key, row["delay"])
"""

from .batch import Applied, Batch
from .client import Client, parse_address
from .documents import Document, decode, encode
from .errors import (
    BusyError,
    CancelledError,
    CertificateRefused,
    ConflictError,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    DeniedError,
    DocumentError,
    FailedError,
    FingerprintMismatch,
    InvalidError,
    NotFoundError,
    PlanckError,
    PoolTimeout,
    ProtocolError,
    ServerError,
    ServerTimeout,
    Status,
    StatusClass,
    TooLargeError,
    UsageError,
)
from .packets import Row, WithVersion
from .pipeline import Pending, Pipeline
from .result import Result
from .store import Sequence, Store
from .tls import ClientCertificate, fingerprint_of_pem
from .transaction import Transaction
from .values import (
    Binary,
    DateTime,
    Decimal128,
    Int64,
    Key,
    KeyLike,
    MaxKey,
    MinKey,
    ObjectId,
    Regex,
    Timestamp,
)
from .waiting import Cancellation
from .watch import Event, Watch

__version__ = "0.1.0"

__all__ = [
    "Applied",
    "Batch",
    "Binary",
    "BusyError",
    "Cancellation",
    "CancelledError",
    "CertificateRefused",
    "Client",
    "ClientCertificate",
    "ConflictError",
    "ConnectFailed",
    "ConnectionLost",
    "DateTime",
    "DeadlineExceeded",
    "Decimal128",
    "DeniedError",
    "Document",
    "DocumentError",
    "Event",
    "FailedError",
    "FingerprintMismatch",
    "Int64",
    "InvalidError",
    "Key",
    "KeyLike",
    "MaxKey",
    "MinKey",
    "NotFoundError",
    "ObjectId",
    "Pending",
    "Pipeline",
    "PlanckError",
    "PoolTimeout",
    "ProtocolError",
    "Regex",
    "Result",
    "Row",
    "Sequence",
    "ServerError",
    "ServerTimeout",
    "Status",
    "StatusClass",
    "Store",
    "Timestamp",
    "TooLargeError",
    "Transaction",
    "UsageError",
    "WithVersion",
    "decode",
    "encode",
    "fingerprint_of_pem",
    "parse_address",
    "Watch",
]
