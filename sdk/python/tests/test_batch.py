"""Batches: what is sent is what was added, and what the server says comes back."""

from __future__ import annotations

import unittest
from typing import Any

from support import KEY, Peer, client_of, serving

from planck import ConflictError, Key, ProtocolError, Status, Transaction, UsageError
from planck.packets import Answer, Failure, Op, Reply, WithVersion, decode_request
from planck.shapes import Condition, Step, StepKind
from planck.values import Int64

MADE = Key((9).to_bytes(16, "big"))


class Fake:
    """A server that knows one document, of version 7, and does any batch that asks for that one."""

    def __init__(self, reply: Reply | None = None) -> None:
        self.reply = reply
        self.asked: list[tuple[Op, list[Step]]] = []

    def __call__(self, peer: Peer) -> None:
        peer.accept_auth()
        peer.serve(self.answer)

    def answer(self, op: Op, fields: dict[str, Any]) -> Reply:
        """Answers, and notes the steps."""
        if op is Op.BEGIN:
            return Answer({"transaction": Int64(1), "lsn": Int64(7), "time_ms": Int64(9)})
        if op is Op.COMMIT:
            return Answer({"lsn": Int64(8)})
        outer, within = op, op is Op.WITHIN
        if within:
            op = Op(fields["operation"])
            fields = decode_request(op, fields["body"])
        if op is Op.READ_VERSION:
            return WithVersion(7, {"a": 1}) if fields["key"] == KEY else Failure(Status.NOT_FOUND, "none")
        self.asked.append((outer, fields["steps"]))
        if self.reply is not None:
            return self.reply
        if any(step.condition is Condition.VERSION and step.version != 7 for step in fields["steps"]):
            return Failure(Status.CONDITION_FAILED, "step 1: it has version 7")
        keys = b"".join((MADE if step.key is None else Key.of(step.key)).raw for step in fields["steps"])
        return Answer({"version": Int64(0 if within else 8), "keys": keys})


class Batches(unittest.TestCase):
    def test_steps_are_sent_as_they_were_added(self) -> None:
        fake = Fake()
        with serving(fake) as server, client_of(server) as client:
            found = client.store("s").get_versioned(KEY)
            assert found is not None
            self.assertEqual((found.version, found.document), (7, {"a": 1}))
            self.assertIsNone(client.store("s").get_versioned(MADE))
            batch = client.batch().replace("s", KEY, {"a": 2}, version=found.version)
            batch.insert("log", {"n": 1}).insert("log", {"n": 2}, KEY, absent=True)
            batch.put("s", MADE, {}, present=True).delete("t", KEY).check("t", MADE, absent=True)
            self.assertEqual(len(batch), 6)
            applied = batch.run()
            self.assertEqual((applied.version, applied.keys[0], applied.keys[1]), (8, KEY, MADE))
            self.assertEqual(
                fake.asked[0][1],
                [
                    Step(StepKind.REPLACE, "s", Condition.VERSION, 7, KEY, {"a": 2}),
                    Step(StepKind.INSERT, "log", Condition.NONE, 0, None, {"n": 1}),
                    Step(StepKind.INSERT, "log", Condition.ABSENT, 0, KEY, {"n": 2}),
                    Step(StepKind.PUT, "s", Condition.PRESENT, 0, MADE, {}),
                    Step(StepKind.DELETE, "t", Condition.NONE, 0, KEY, None),
                    Step(StepKind.CHECK, "t", Condition.ABSENT, 0, MADE, None),
                ],
            )

    def test_a_condition_that_fails_is_told_and_not_tried_again(self) -> None:
        fake = Fake()
        with serving(fake) as server, client_of(server) as client:
            with self.assertRaises(ConflictError) as raised:
                client.batch().delete("s", KEY, version=6).run()
            self.assertEqual(raised.exception.status, Status.CONDITION_FAILED)
            self.assertEqual(len(fake.asked), 1)

    def test_it_may_be_part_of_a_transaction(self) -> None:
        def work(tx: Transaction) -> int:
            return tx.batch().put("s", KEY, {"a": 3}, version=7).run().version

        fake = Fake()
        with serving(fake) as server, client_of(server) as client:
            self.assertEqual(client.transaction(work), 0)
            self.assertEqual([op for op, _ in fake.asked], [Op.WITHIN])

    def test_what_cannot_be_is_refused_before_anything_is_sent(self) -> None:
        fake = Fake()
        with serving(fake) as server, client_of(server) as client:
            for wrong in (
                lambda: client.batch().check("s", KEY),
                lambda: client.batch().put("s", KEY, {}, absent=True, version=3),
                lambda: client.batch().put("s", KEY, {}, absent=True, present=True),
                lambda: client.batch().delete("s", KEY, version=0),
            ):
                with self.assertRaises(UsageError):
                    wrong()
            self.assertEqual(fake.asked, [])

    def test_an_answer_that_is_none_is_a_fault(self) -> None:
        for reply in (Answer({"version": Int64(3)}), Answer({"version": Int64(3), "keys": b"short"})):
            with serving(Fake(reply)) as server, client_of(server) as client:
                with self.assertRaises(ProtocolError):
                    client.batch().delete("s", KEY).run()


if __name__ == "__main__":
    unittest.main()
