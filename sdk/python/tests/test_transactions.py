"""Transactions: one connection, all or nothing, run again only where that is safe."""

from __future__ import annotations

import unittest
from typing import Any

from support import KEY, ROW, Peer, client_of, serving

from planck import ConflictError, ConnectionLost, Status, Transaction, UsageError
from planck.packets import Answer, Count, Empty, Failure, OneKey, Op, Reply, Row, Rows, decode_request
from planck.values import Int64


class Fake:
    """A server whose first `refused` commits are disturbed."""

    def __init__(self, refused: int = 0) -> None:
        self.refused = refused
        self.begun = 0
        self.asked: list[str] = []

    def __call__(self, peer: Peer) -> None:
        peer.accept_auth()
        peer.serve(self.answer)

    def answer(self, op: Op, fields: dict[str, Any]) -> Reply:
        """Answers, and notes what was asked."""
        if op is Op.WITHIN:
            inner = Op(fields["operation"])
            self.asked.append(f"{fields['transaction']}: {inner.name}")
            return self.within(inner, decode_request(inner, fields["body"]))
        self.asked.append(op.name if "transaction" not in fields else f"{fields['transaction']}: {op.name}")
        if op is Op.BEGIN:
            self.begun += 1
            return Answer({"transaction": Int64(self.begun), "lsn": Int64(7), "time_ms": Int64(9)})
        if op is Op.COMMIT and self.refused:
            self.refused -= 1
            return Failure(Status.TRANSACTION_CONFLICT, "disturbed")
        if op is Op.COMMIT:
            return Answer({"lsn": Int64(8)})
        return Count(3) if op is Op.SAVEPOINT else Empty()

    def within(self, op: Op, fields: dict[str, Any]) -> Reply:
        """What is answered within a transaction."""
        if op is Op.READ:
            return Rows(True, [ROW])
        if op is Op.DELETE:
            return Failure(Status.TRANSACTION_CONFLICT, "too old")
        if op is Op.STREAM:
            return Rows(False, [Row(None, {"n": 1})], 4)
        if op is Op.FETCH:
            return Rows(False, [Row(None, {"n": 2})])
        return OneKey(KEY)


def work(tx: Transaction) -> int:
    store = tx.store("s")
    found = store.get(KEY)
    place = tx.savepoint()
    store.insert({"a": 1})
    tx.rollback(place)
    return int((found or {})["a"])


class Transactions(unittest.TestCase):
    def test_it_is_run_again_when_it_was_disturbed(self) -> None:
        fake = Fake(refused=2)
        with serving(fake) as server, client_of(server) as client:
            self.assertEqual(client.transaction(work), 7)
            once = [["BEGIN", *(f"{n}: {name}" for name in _WORK)] for n in (1, 2, 3)]
            self.assertEqual(fake.asked, [name for names in once for name in names])
            self.assertEqual(len(server.peers), 1)

    def test_it_is_given_up_after_a_few_times(self) -> None:
        fake = Fake(refused=99)
        with serving(fake) as server, client_of(server, retries=1) as client:
            with self.assertRaises(ConflictError) as raised:
                client.transaction(work)
            self.assertEqual(raised.exception.status, Status.TRANSACTION_CONFLICT)
            self.assertEqual(fake.begun, 2)

    def test_what_raises_is_aborted(self) -> None:
        fake = Fake()

        def fails(tx: Transaction) -> None:
            raise KeyError("mine")

        with serving(fake) as server, client_of(server) as client:
            with self.assertRaises(KeyError):
                client.transaction(fails)
            self.assertEqual(fake.asked, ["BEGIN", "1: ABORT"])
            # The connection is as good as new.
            client.ping()
            self.assertEqual(len(server.peers), 1)

    def test_what_was_disturbed_on_the_way_is_run_again(self) -> None:
        fake = Fake()
        with serving(fake) as server, client_of(server, retries=1) as client:
            with self.assertRaises(ConflictError):
                client.transaction(lambda tx: tx.store("s").delete(KEY))
            once = [["BEGIN", f"{n}: DELETE", f"{n}: ABORT"] for n in (1, 2)]
            self.assertEqual(fake.asked, [name for names in once for name in names])

    def test_pages_are_fetched_within_it(self) -> None:
        fake = Fake()
        with serving(fake) as server, client_of(server) as client:
            rows = client.transaction(lambda tx: tx.query("s", ahead=False).documents(), read_only=True)
            self.assertEqual(rows, [{"n": 1}, {"n": 2}])
            self.assertEqual(fake.asked, ["BEGIN", "1: STREAM", "1: FETCH", "1: COMMIT"])

    def test_it_is_of_no_use_when_it_has_ended(self) -> None:
        kept: list[Transaction] = []
        with serving(Fake()) as server, client_of(server) as client:
            client.transaction(kept.append)
            with self.assertRaises(UsageError):
                kept[0].store("s").get(KEY)

    def test_of_a_commit_that_was_not_answered_nobody_knows(self) -> None:
        asked: list[Op] = []

        def script(peer: Peer) -> None:
            peer.accept_auth()
            op, _, number = peer.request()
            asked.append(op)
            peer.reply(number, Answer({"transaction": Int64(1)}))
            op, _, number = peer.request()
            asked.append(op)

        with serving(script) as server, client_of(server) as client:
            with self.assertRaises(ConnectionLost):
                client.transaction(lambda tx: None)
            self.assertEqual(asked, [Op.BEGIN, Op.COMMIT])


_WORK = ["READ", "SAVEPOINT", "INSERT", "ROLLBACK", "COMMIT"]

if __name__ == "__main__":
    unittest.main()
