"""What can go wrong, by class.

What must stay true: a status decides what a program does next, its text never does; a status that is
not known here is of class Failed; an error that came from the server says that nothing has changed
unless it is a `FailedError`.
"""

from __future__ import annotations

import enum


class StatusClass(enum.Enum):
    """What a status means for asking again."""

    OK = "Ok"
    INVALID = "Invalid"
    NOT_FOUND = "NotFound"
    DENIED = "Denied"
    CONFLICT = "Conflict"
    TOO_LARGE = "TooLarge"
    BUSY = "Busy"
    FAILED = "Failed"


class Status(enum.IntEnum):
    """The numbers of the protocol, shown to people as `PLK-` and four digits."""

    OK = 0
    BAD_PACKET = 1001
    UNKNOWN_OPCODE = 1002
    MESSAGE_TOO_LARGE = 1003
    UNKNOWN_VERSION = 1004
    BAD_DOCUMENT = 1101
    DOCUMENT_TOO_LARGE = 1102
    BAD_KEY = 1103
    BATCH_TOO_LARGE = 1104
    TOO_MANY_ENTRIES = 1106
    SCHEMA_MISMATCH = 1107
    BAD_NAME = 1201
    UNKNOWN_STORE = 1202
    STORE_EXISTS = 1203
    UNKNOWN_INDEX = 1204
    INDEX_EXISTS = 1205
    BAD_INDEX = 1206
    UNKNOWN_SEQUENCE = 1207
    SEQUENCE_EXISTS = 1208
    BAD_CHANGE = 1209
    UNKNOWN_USER = 1210
    USER_EXISTS = 1211
    BAD_USER = 1212
    LAST_ADMIN = 1213
    UNKNOWN_USER_KEY = 1214
    USER_KEY_EXISTS = 1215
    LIMIT_REACHED = 1216
    NOT_SET_UP = 1217
    BAD_MODULE = 1218
    NOT_FOUND = 1301
    KEY_EXISTS = 1302
    NOT_UNIQUE = 1303
    CHANGED = 1304
    TRANSACTION_CONFLICT = 1305
    CONDITION_FAILED = 1340
    BAD_QUERY = 1401
    BAD_PARAMETER = 1402
    RESULT_TOO_LARGE = 1403
    QUERY_MEMORY = 1404
    UNKNOWN_CURSOR = 1405
    UNKNOWN_QUERY = 1406
    UNKNOWN_TRANSACTION = 1407
    UNKNOWN_SAVEPOINT = 1408
    NOT_IN_TRANSACTION = 1409
    TRANSACTION_TOO_LARGE = 1410
    BAD_WATCH = 1420
    WATCH_GAP = 1421
    WATCH_AHEAD = 1422
    WATCH_ENDED = 1423
    NO_BEFORE_IMAGES = 1424
    BAD_JOB = 1430
    NOT_LEADER = 1440
    DIVERGED = 1441
    TOO_FAR_BEHIND = 1442
    OTHER_STORE = 1443
    OLDER_TERM = 1444
    NOT_REACHED = 1445
    BAD_FOLLOW = 1446
    WRONG_ROLE = 1447
    NOT_AUTHENTICATED = 1501
    BAD_CREDENTIALS = 1502
    FORBIDDEN = 1503
    LOCKED_OUT = 1504
    BUSY = 1601
    TIMEOUT = 1602
    CANCELLED = 1603
    NO_SUCH_UPSTREAM = 1701
    BAD_UPSTREAM_CALL = 1702
    UPSTREAM_ADDRESS = 1703
    UPSTREAM_BUSY = 1704
    UPSTREAM_UNREACHABLE = 1705
    UPSTREAM_TIMEOUT = 1706
    UPSTREAM_BROKEN = 1707
    UPSTREAM_TOO_LARGE = 1708
    READ_ONLY = 1901
    CORRUPT = 1902
    IO = 1903
    INTERNAL = 1999


_OF_CLASS: dict[StatusClass, tuple[int, ...]] = {
    StatusClass.OK: (0,),
    StatusClass.INVALID: (
        1001, 1002, 1004, 1101, 1103, 1107, 1201, 1206, 1209, 1212, 1218, 1401, 1402, 1409, 1420, 1430, 1446,
        1702,
    ),
    StatusClass.NOT_FOUND: (1202, 1204, 1207, 1210, 1214, 1217, 1301, 1405, 1406, 1407, 1408, 1423),
    StatusClass.DENIED: (1501, 1502, 1503, 1504, 1701),
    StatusClass.CONFLICT: (
        1203, 1205, 1208, 1211, 1213, 1215, 1302, 1303, 1304, 1305, 1340, 1421, 1422, 1424, 1440,
        1441, 1442, 1443, 1444, 1447, 1603,
    ),
    StatusClass.TOO_LARGE: (1003, 1102, 1104, 1106, 1216, 1403, 1404, 1410, 1708),
    StatusClass.BUSY: (1445, 1601, 1602, 1704, 1705),
    StatusClass.FAILED: (1703, 1706, 1707, 1901, 1902, 1903, 1999),
}
_CLASS_OF = {number: kind for kind, numbers in _OF_CLASS.items() for number in numbers}


def class_of(status: int) -> StatusClass:
    """The class of a status; Failed if it is not known."""
    return _CLASS_OF.get(status, StatusClass.FAILED)


def name_of(status: int) -> str:
    """The name of a status as the protocol writes it: `NotFound`."""
    try:
        words = Status(status).name.split("_")
    except ValueError:
        return "Unknown"
    return "".join(word.capitalize() for word in words)


class PlanckError(Exception):
    """All errors of this package."""


class ServerError(PlanckError):
    """The server's answer is an error. `status` says which, `message` is for people.

    `maybe_done` is true if the request was sent again after a connection broke: then the error may
    mean that the first one was done (`PLK-1302` of an insert, `PLK-1301` of a delete).
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message
        self.maybe_done = False

    @property
    def name(self) -> str:
        """The name of the status."""
        return name_of(self.status)

    @property
    def status_class(self) -> StatusClass:
        """The class of the status."""
        return class_of(self.status)

    def __str__(self) -> str:
        again = " (an earlier try of the same request may have been done)" if self.maybe_done else ""
        return f"PLK-{self.status:04}: {self.message or self.name}{again}"


class InvalidError(ServerError):
    """The request is wrong; the same again is of no use."""


class NotFoundError(ServerError):
    """What the request names is not there."""


class DeniedError(ServerError):
    """This user may not, or nobody has said who it is."""


class ConflictError(ServerError):
    """The state is another than the request expects."""


class CancelledError(ConflictError):
    """It was cancelled before it was done; nothing has changed."""


class TooLargeError(ServerError):
    """A limit was passed; ask for less."""


class BusyError(ServerError):
    """Too much at once; the same request may succeed after a while."""


class ServerTimeout(BusyError, TimeoutError):
    """The request took longer than it may; nothing has changed."""


class FailedError(ServerError):
    """The server cannot. Of a change it is not known whether it was done: read first."""


_EXCEPTION_OF: dict[StatusClass, type[ServerError]] = {
    StatusClass.INVALID: InvalidError,
    StatusClass.NOT_FOUND: NotFoundError,
    StatusClass.DENIED: DeniedError,
    StatusClass.CONFLICT: ConflictError,
    StatusClass.TOO_LARGE: TooLargeError,
    StatusClass.BUSY: BusyError,
    StatusClass.FAILED: FailedError,
}


def error_of(status: int, message: str) -> ServerError:
    """The exception for a status that is not 0."""
    if status == Status.CANCELLED:
        return CancelledError(status, message)
    if status == Status.TIMEOUT:
        return ServerTimeout(status, message)
    return _EXCEPTION_OF.get(class_of(status), FailedError)(status, message)


class UsageError(PlanckError, ValueError):
    """The caller asked for what cannot be sent. Nothing was sent."""


class DocumentError(UsageError):
    """A document cannot be written, or bytes are no document."""


class ProtocolError(PlanckError):
    """The server sent what the protocol does not allow; the connection was closed."""


class FingerprintMismatch(PlanckError):
    """The server's public key is another than the one that was given. Nothing was sent to it."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(expected, found)
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        return (
            f"the server's fingerprint is {self.found}, expected {self.expected}: another server answers at this "
            "address, or its key was changed; ask its operator before you take the new fingerprint"
        )


class ConnectionLost(PlanckError, ConnectionError):
    """The connection broke before the answer came.

    `sent` is false if nothing of the request was sent, or if the server ended the session in good order before
    it had begun it: then it was surely not done.
    """

    def __init__(self, reason: str, sent: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent

    def __str__(self) -> str:
        doubt = "; whether the request was done is not known" if self.sent else ""
        return f"{self.reason}{doubt}"


class ConnectFailed(ConnectionLost):
    """No session could be opened. Nothing was sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, sent=False)


class CertificateRefused(ConnectFailed):
    """The server asks for a certificate of the client, and did not take this one, or was shown none."""


class DeadlineExceeded(PlanckError, TimeoutError):
    """The caller's time is over, and no answer of the server says what became of the request."""


class PoolTimeout(DeadlineExceeded):
    """All connections of the pool were in use for too long. Nothing was sent."""
