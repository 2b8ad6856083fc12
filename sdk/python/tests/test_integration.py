"""The client against a real server: every operation, and what the protocol promises of sessions.

Runs only if PLANCK_BINARY names a built `planck`. The server works in a directory of its own and is stopped
at the end; tests share it, and each has stores of its own.
"""

from __future__ import annotations

import datetime
import threading
import time
import unittest
from typing import Any

from real_server import BINARY, WAIT, PlainServer, Server
from support import KEY

from planck import (
    Cancellation,
    CancelledError,
    Client,
    ConflictError,
    ConnectFailed,
    Decimal128,
    DeniedError,
    FingerprintMismatch,
    Int64,
    InvalidError,
    Key,
    MaxKey,
    MinKey,
    NotFoundError,
    ObjectId,
    PlanckError,
    Regex,
    ServerError,
    ServerTimeout,
    Status,
    Timestamp,
    TooLargeError,
    Transaction,
    fingerprint_of_pem,
)
from planck import calls
from planck.connection import Call, Connection
from planck.packets import Kind, Op, Packet, encode_packet, encode_request
from planck.result import query
from planck.waiting import Deadline

MANY = 10_000
HEAVY = 'many.filter(text ~ "(t|e|x)+t .*[0-9]$").orderBy(text desc, n).limit(1)'
"""A query that takes some milliseconds at least."""

seen: set[Op] = set()
_send = Connection._send


def _record(self: Connection, op: Op, body: bytes, deadline: Deadline) -> Any:
    seen.add(op)
    return _send(self, op, body, deadline)


@unittest.skipUnless(BINARY, "PLANCK_BINARY names no server")
class Integration(unittest.TestCase):
    server: Server
    client: Client

    @classmethod
    def setUpClass(cls) -> None:
        Connection._send = _record  # type: ignore[method-assign]
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)
        cls.client = cls.server.client()
        cls.addClassCleanup(cls.client.close)

    @classmethod
    def tearDownClass(cls) -> None:
        Connection._send = _send  # type: ignore[method-assign]

    def fill_many(self) -> None:
        """The store `many`, once."""
        store = self.client.store("many")
        if any(one["name"] == "many" for one in self.client.stores()):
            return
        store.create()
        for start in range(0, MANY, 5000):
            store.insert_many([{"n": n, "text": f"text {n % 97}"} for n in range(start, start + 5000)])


class Transactions(Integration):
    def test_all_or_nothing_whoever_else_is_there(self) -> None:
        store = self.client.store("accounts")
        store.create()
        keys = [store.insert({"balance": 100}) for _ in range(3)]

        def move(tx: Transaction, source: Key, target: Key) -> None:
            balances = {key: (tx.store("accounts").get(key) or {})["balance"] for key in (source, target)}
            place = tx.savepoint()
            tx.store("accounts").replace(source, {"balance": -1000})
            tx.rollback(place)
            tx.store("accounts").replace(source, {"balance": balances[source] - 1})
            tx.store("accounts").replace(target, {"balance": balances[target] + 1})

        def often(at: int) -> None:
            with self.server.client(retries=30) as client:
                for n in range(15):
                    source, target = keys[(at + n) % 3], keys[(at + n + 1) % 3]
                    client.transaction(lambda tx: move(tx, source, target))

        threads = [threading.Thread(target=often, args=(at,)) for at in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        found = self.client.transaction(
            lambda tx: tx.query("accounts", page_rows=1, ahead=False).documents(), read_only=True
        )
        self.assertEqual(sum(row["balance"] for row in found), 300)
        with self.assertRaises(ZeroDivisionError):
            self.client.transaction(lambda tx: tx.store("accounts").delete(keys[0]) and 1 // 0)
        self.assertIsNotNone(store.get(keys[0]))
        with self.assertRaises(InvalidError) as outside:
            self.client.transaction(lambda tx: tx.store("other").create())
        self.assertEqual(outside.exception.status, Status.NOT_IN_TRANSACTION)


class Documents(Integration):
    def test_versions_and_conditions(self) -> None:
        store = self.client.store("versioned")
        store.create()
        key = store.insert({"n": 1})
        found = store.get_versioned(key)
        assert found is not None
        self.assertEqual(found.document, {"n": 1})
        batch = self.client.batch().replace("versioned", key, {"n": 2}, version=found.version)
        applied = batch.insert("versioned", {"n": 7}).run()
        self.assertGreater(applied.version, found.version)
        again = store.get_versioned(key)
        assert again is not None
        self.assertEqual((again.version, again.document), (applied.version, {"n": 2}))
        self.assertEqual(store.get(applied.keys[1]), {"n": 7})
        with self.assertRaises(ConflictError) as failed:
            batch.run()
        self.assertEqual(failed.exception.status, Status.CONDITION_FAILED)
        self.assertIn(f"has version {applied.version}", failed.exception.message)
        self.assertEqual(self.client.query("versioned.count()").count, 2)

    def test_documents(self) -> None:
        self.client.store("docs").create()
        store = self.client.store("docs")
        key = store.insert({"a": 7})
        self.assertEqual(store.get(key), {"a": 7})
        self.assertEqual(store.read(key).key, key)
        store.replace(key, {"a": 8, "b": [1, "x"]})
        self.assertEqual(store.get(key), {"a": 8, "b": [1, "x"]})
        self.assertEqual(store.insert({}, KEY), KEY)
        with self.assertRaises(ConflictError) as taken:
            store.insert({}, KEY)
        self.assertEqual(taken.exception.status, Status.KEY_EXISTS)
        self.assertTrue(store.delete(KEY))
        self.assertIsNone(store.get(KEY))
        self.assertFalse(store.delete(KEY, missing_ok=True))
        for work in (lambda: store.delete(KEY), lambda: store.replace(KEY, {}), lambda: store.read(KEY)):
            with self.assertRaises(NotFoundError) as gone:
                work()
            self.assertEqual(gone.exception.status, Status.NOT_FOUND)
        store.upsert(KEY, {"new": True})
        self.assertEqual(store.get(KEY), {"new": True})
        with self.assertRaises(NotFoundError) as unknown:
            self.client.store("no_such").get(KEY)
        self.assertEqual(unknown.exception.status, Status.UNKNOWN_STORE)

    def test_every_kind_of_value(self) -> None:
        self.client.store("kinds").create()
        document = {
            "double": 1.5,
            "string": "né\0",
            "document": {"b": 1, "a": {}},
            "array": [1, [2, {}]],
            "bytes": b"\1\2\3",
            "objectId": ObjectId(bytes(range(12))),
            "yes": True,
            "when": datetime.datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=datetime.timezone.utc),
            "null": None,
            "regex": Regex("^a", "i"),
            "small": -1,
            "stamp": Timestamp(1_700_000_000, 5),
            "wide": Int64(3),
            "decimal": Decimal128.of("123.45"),
            "least": MinKey(),
            "most": MaxKey(),
        }
        key = self.client.store("kinds").insert(document)
        found = self.client.store("kinds").get(key)
        assert found is not None
        self.assertEqual(found, document)
        self.assertEqual(list(found), list(document))
        self.assertEqual([type(v) for v in found.values()], [type(v) for v in document.values()])
        rows = self.client.query("kinds.filter(wide = $1)", [3.0]).all()
        self.assertEqual([(row.key, row.document) for row in rows], [(key, document)])

    def test_documents_that_are_refused(self) -> None:
        self.client.store("refused").create()
        store = self.client.store("refused")
        with self.assertRaises(InvalidError) as field:
            store.insert({"key": 1})
        self.assertEqual(field.exception.status, Status.BAD_DOCUMENT)
        with self.assertRaises(TooLargeError) as long:
            store.insert({"a": bytes(5 << 20)})
        self.assertEqual(long.exception.status, Status.DOCUMENT_TOO_LARGE)
        with self.assertRaises(TooLargeError) as batch:
            store.insert_many([{}] * 10_001)
        self.assertEqual(batch.exception.status, Status.BATCH_TOO_LARGE)
        with self.assertRaises(TooLargeError):
            store.insert({"a": bytes(17 << 20)})
        with self.assertRaises(ConflictError):
            store.insert_many([{}, (KEY, {}), (KEY, {})])
        self.assertEqual(self.client.query("refused.count()").count, 0)

    def test_scans_and_ranges(self) -> None:
        self.client.store("scans").create()
        store = self.client.store("scans")
        keys = [Key(n.to_bytes(16, "big")) for n in range(25)] + [Key(b"\xff" * 16)]
        self.assertEqual(store.insert_many([(key, {"n": n}) for n, key in enumerate(keys)]), keys)

        def found(rows: Any) -> list[Key | None]:
            return [row.key for row in rows]

        self.assertEqual(found(store.scan(page_rows=4)), keys)
        self.assertEqual(found(store.scan(reverse=True, page_rows=4)), keys[::-1])
        self.assertEqual(found(store.scan(after=keys[9], page_rows=4)), keys[10:])
        self.assertEqual(found(store.scan(after=keys[9], reverse=True, page_rows=4)), keys[:9][::-1])
        self.assertEqual(found(store.scan(limit=7, page_rows=4)), keys[:7])
        self.assertEqual(found(store.scan(page_rows=0)), keys)
        self.assertEqual(found(store.range(page_rows=4)), keys)
        self.assertEqual(found(store.range(keys[3], keys[17], page_rows=4)), keys[3:18])
        self.assertEqual(found(store.range(keys[3], keys[17], page_rows=4, reverse=True)), keys[3:18][::-1])
        with self.assertRaises(InvalidError):
            found(store.range(keys[5], keys[4]))


class Definitions(Integration):
    def test_stores(self) -> None:
        store = self.client.store("made")
        store.create()
        with self.assertRaises(ConflictError):
            store.create()
        store.create(if_not_exists=True)
        with self.assertRaises(InvalidError):
            self.client.store("no name").create()
        store = store.rename("renamed")
        self.assertIn("renamed", [one["name"] for one in self.client.stores()])
        store.set_schema('{"required": ["a"]}')
        with self.assertRaises(InvalidError) as schema:
            store.insert({"b": 1})
        self.assertEqual(schema.exception.status, Status.SCHEMA_MISMATCH)
        self.assertIn("required", store.describe()["schema"])
        store.set_schema(None)
        store.insert({"b": 1})
        store.set_ttl("at", 3600)
        self.assertEqual(store.describe()["ttl"], {"field": "at", "seconds": 3600})
        store.set_ttl(None)
        self.assertEqual(store.describe()["documents"], 1)
        store.drop()
        with self.assertRaises(NotFoundError):
            store.drop()
        store.drop(if_exists=True)

    def test_indexes(self) -> None:
        store = self.client.store("indexed")
        store.create()
        store.insert_many([{"a": n, "b": {"c": -n}} for n in range(50)])
        self.assertEqual(store.create_index("a", unique=True)["created"], True)
        self.assertEqual(store.create_index("a", unique=True, if_not_exists=True)["created"], False)
        name = store.create_index("b.c", "-a", sparse=True, where="a > 3", name="both")["name"]
        self.assertEqual(name, "both")
        end = time.monotonic() + WAIT
        while any(index["state"] != "ready" for index in store.describe()["indexes"]):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)
        with self.assertRaises(ConflictError) as twice:
            store.insert({"a": 7})
        self.assertEqual(twice.exception.status, Status.NOT_UNIQUE)
        rows = store.check_indexes()
        self.assertEqual((rows[-1]["indexes"], rows[-1]["differences"]), (2, 0))
        self.assertEqual(store.check_indexes("both")[-1]["indexes"], 1)
        store.drop_index("both")
        with self.assertRaises(NotFoundError):
            store.drop_index("both")
        store.drop_index("both", if_exists=True)

    def test_sequences(self) -> None:
        sequence = self.client.sequence("tickets")
        sequence.create()
        sequence.create(if_not_exists=True)
        first, second = sequence.next(10), sequence.next()
        self.assertEqual((len(first), len(second)), (10, 1))
        self.assertGreaterEqual(second.start, first.stop)
        sequence.raise_to(1000)
        self.assertGreaterEqual(sequence.next().start, 1000)
        sequence = sequence.rename("tickets2")
        self.assertIn("tickets2", [one["name"] for one in self.client.sequences()])
        for count in (0, 1_000_001):
            with self.assertRaises(PlanckError):
                sequence.next(count)
        sequence.drop()
        sequence.drop(if_exists=True)
        with self.assertRaises(NotFoundError):
            sequence.next()

    def test_upkeep(self) -> None:
        self.client.ping()
        self.client.flush()
        self.assertTrue(self.client.stats())
        self.assertTrue(self.client.backup(full=True)["begun"])
        end = time.monotonic() + WAIT
        while (state := self.client.backup(begin=False)["state"]) != "done":
            self.assertIn(state, ("asked", "running"))
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        with self.assertRaises(NotFoundError) as none:
            self.client.reload_module()
        self.assertEqual(none.exception.status, Status.NOT_SET_UP)
        # Without a guest nobody runs jobs.
        for work in (lambda: self.client.schedule("/a"), lambda: self.client.retry_job(Key.new())):
            with self.assertRaises(NotFoundError) as none:
                work()
            self.assertEqual(none.exception.status, Status.NOT_SET_UP)


class Queries(Integration):
    def setUp(self) -> None:
        self.fill_many()

    def test_streams_of_many_pages(self) -> None:
        for options in ({"page_rows": 700}, {"page_bytes": 50_000}, {}):
            for ahead in (True, False):
                result = self.client.query("many.orderBy(n).pluck(n)", ahead=ahead, **options)  # type: ignore[arg-type]
                self.assertEqual([row["n"] for row in result], list(range(MANY)))
        with self.client.query("many.all()", page_rows=10) as result:
            self.assertIsNotNone(next(result).key)
        self.assertEqual(len(self.client.query("many.filter(n < $1)", [10]).all()), 10)

    def test_what_comes_back(self) -> None:
        query = self.client.query
        self.assertEqual(query("many.count()").count, MANY)
        self.client.store("back").create()
        key = query('back.insert({x: "y"})').value
        self.assertIsInstance(key, Key)
        self.assertEqual([(r.key, r.document) for r in query(f"back.get({key})")], [(key, {"x": "y"})])
        self.assertEqual(query("back.filter(x = $1).set($2)", {"1": "y", "2": {"n": 5}}).count, 1)
        rows = query("back.all().inc({n: 1}).returning()").all()
        self.assertEqual([(r.key, r.document) for r in rows], [(key, {"x": "y", "n": 6})])
        rows = query("back.all().pluck(n, key)").all()
        self.assertEqual([(r.key, r.document) for r in rows], [(None, {"n": 6, "key": str(key)})])
        self.assertIn("plan", query("back.all().explain()").value)  # type: ignore[arg-type]
        self.assertEqual(query("back.all().delete()").count, 1)
        for text, status in (("back.fliter()", 1401), ("back.filter(x = $1)", 1402), ("no_such.all()", 1202)):
            with self.subTest(text), self.assertRaises(ServerError) as caught:
                query(text)
            self.assertEqual(caught.exception.status, status)
        self.assertEqual(self.client.format_query("back . count( )"), "back.count()")

    def test_queries_that_wait(self) -> None:
        with self.client.query("many.filter(n >= 0)", page_rows=10, ahead=False) as result:
            next(result)
            (running,) = [one for one in self.client.running_queries() if "n >= 0" in one["query"]]
            self.assertEqual((running["state"], running["user"]), ("waiting", "admin"))
            self.client.cancel_query(running["id"])
            with self.assertRaises(ServerError) as caught:
                list(result)
            self.assertIn(caught.exception.status, (Status.CANCELLED, Status.UNKNOWN_CURSOR))
        with self.assertRaises(NotFoundError):
            self.client.cancel_query(running["id"])

    def test_pipelines(self) -> None:
        self.client.store("piped").create()
        with self.client.pipeline() as pipe:
            made = [pipe.insert("piped", {"n": n}) for n in range(500)]
            # It sees all that went before it in the session.
            counted = pipe.query("piped.count()")
            with self.assertRaises(ConflictError):
                pipe.insert("piped", {}, made[0].result()).result()
            rows = [pipe.get("piped", one.result()) for one in made[:5]]
        self.assertEqual(counted.result().count, 500)
        self.assertEqual([row.result() for row in rows], [{"n": n} for n in range(5)])
        self.assertEqual(len({one.result() for one in made}), 500)

    def test_cancelling_what_waits_changes_nothing(self) -> None:
        self.client.store("spared").create()
        self.client.store("spared").insert({})
        with self.client.pipeline() as pipe:
            heavy = [pipe.query(HEAVY) for _ in range(10)]
            last = pipe.query("spared.all().delete()")
            last.cancel()
            with self.assertRaises(CancelledError):
                last.result()
            self.assertEqual({len(one.result().all()) for one in heavy}, {1})
        self.assertEqual(self.client.query("spared.count()").count, 1)

    def test_cancelling_what_runs(self) -> None:
        """It is cancelled, or was done first; the session goes on, in order, either way."""
        cancelled = 0
        for _ in range(10):
            with self.client.pipeline() as pipe:
                heavy = pipe.query(HEAVY)
                heavy.cancel()
                behind = pipe.query("many.count()")
                try:
                    self.assertEqual(len(heavy.result().all()), 1)
                except CancelledError:
                    cancelled += 1
                self.assertEqual(behind.result().count, MANY)
        self.assertGreater(cancelled, 0)

    def test_cancelling_from_another_thread(self) -> None:
        cancel = Cancellation()
        timer = threading.Timer(0.05, cancel.cancel)
        timer.start()
        with self.assertRaises(CancelledError):
            while True:
                self.assertEqual(len(self.client.query(HEAVY, cancel=cancel).all()), 1)
        timer.join()
        self.client.ping()

    def test_patience(self) -> None:
        self.client.store("patient").create()
        self.client.store("patient").insert({})
        with self.client.pipeline() as pipe:
            heavy = [pipe.query(HEAVY) for _ in range(10)]
            late = pipe.send(query("patient.all().delete()", None, None), timeout=0.005)
            with self.assertRaises(ServerTimeout):
                late.result()
            self.assertEqual({len(one.result().all()) for one in heavy}, {1})
        self.assertEqual(self.client.query("patient.count()").count, 1)


class Users(Integration):
    def test_users(self) -> None:
        self.client.store("theirs").create()
        made = self.client.create_user("bob", "read_only")
        self.assertEqual((made["name"], made["created"]), ("bob", True))
        self.assertEqual(
            self.client.create_user("bob", "read_only", if_not_exists=True), {"name": "bob", "created": False}
        )
        with self.assertRaises(ConflictError) as other:
            self.client.create_user("bob", "admin", if_not_exists=True)
        self.assertEqual(other.exception.status, Status.USER_EXISTS)
        with self.server.client("bob", made["key"]) as bob:
            self.assertEqual((bob.session()["user"], bob.session()["role"]), ("bob", "read_only"))
            self.assertEqual(bob.query("theirs.count()").count, 0)
            for work in (
                lambda: bob.store("theirs").insert({}),
                lambda: bob.query("theirs.insert({})"),
                lambda: bob.users(),
                lambda: bob.flush(),
                lambda: bob.reload_module(),
                lambda: bob.schedule("/a"),
                lambda: bob.retry_job(Key.new()),
            ):
                with self.assertRaises(DeniedError) as forbidden:
                    work()
                self.assertEqual(forbidden.exception.status, Status.FORBIDDEN)
            self.client.alter_user("bob", role="read_write")
            bob.store("theirs").insert({})
            roles = {one["name"]: one["role"] for one in self.client.users()}
            self.assertEqual((roles["admin"], roles["bob"]), ("admin", "read_write"))
            # One's own key: the session that asks goes on.
            own = bob.alter_user("bob", new_key=True)["key"]
            bob.ping()
            self.client.alter_user("bob", key="another-long-key")
            with self.assertRaises(DeniedError) as ended:
                bob.store("theirs").get(KEY)
            self.assertEqual(ended.exception.status, Status.NOT_AUTHENTICATED)
        self.assertNotEqual(own, made["key"])
        with self.server.client("bob", "another-long-key") as bob:
            bob.ping()
            self.client.drop_user("bob")
            with self.assertRaises(DeniedError):
                bob.store("theirs").get(KEY)
        self.client.drop_user("bob", if_exists=True)
        with self.assertRaises(ConflictError):
            self.client.drop_user("admin")

    def test_keys(self) -> None:
        first = self.client.create_user("kim", "none")["key"]
        self.assertRegex(first, "^[0-9a-f]{64}$")
        ends = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(days=1)
        made = self.client.create_key("kim", "ci", expires=ends)
        self.assertEqual({**made, "key": ""}, {"user": "kim", "name": "ci", "key": "", "expires": ends})
        (kim,) = (one for one in self.client.users() if one["name"] == "kim")
        self.assertEqual([one["name"] for one in kim["keys"]], ["ci", "main"])
        self.assertEqual(kim["keys"][0]["id"], made["key"][:16])
        self.assertEqual((kim["keys"][0]["expires"], "expires" in kim["keys"][1]), (ends, False))
        with self.server.client("kim", made["key"]) as client:
            # What somebody makes for themselves ends with what they came with.
            own = client.create_key("kim", "own", expires=ends + datetime.timedelta(days=1))
            self.assertEqual(own["expires"], ends)
            for name, past, status in (
                ("ci", None, Status.USER_KEY_EXISTS),
                ("new", ends - datetime.timedelta(days=2), Status.BAD_USER),
                ("1", None, Status.BAD_NAME),
            ):
                with self.assertRaises(ServerError) as refused:
                    client.create_key("kim", name, expires=past)
                self.assertEqual(refused.exception.status, status)
            with self.assertRaises(DeniedError):
                client.create_key("admin", "stolen")
            with self.assertRaises(NotFoundError) as unknown:
                client.revoke_key("kim", "none")
            self.assertEqual(unknown.exception.status, Status.UNKNOWN_USER_KEY)
            client.revoke_key("kim", "none", if_exists=True)
            self.client.revoke_key("kim", "ci")
            with self.assertRaises(DeniedError) as ended:
                client.ping()
            self.assertEqual(ended.exception.status, Status.NOT_AUTHENTICATED)
        with self.server.client("kim", own["key"]) as client:
            client.ping()
        with self.assertRaises(ConflictError) as last:
            self.client.revoke_key("admin", "main")
        self.assertEqual(last.exception.status, Status.LAST_ADMIN)
        for n in range(6):
            self.client.create_key("kim", f"n{n}")
        with self.assertRaises(InvalidError) as ninth:
            self.client.create_key("kim", "n6")
        self.assertEqual(ninth.exception.status, Status.BAD_USER)

    def test_grants(self) -> None:
        for name in ("open", "shut"):
            self.client.store(name).create()
        made = self.client.create_user("gil", "none", grants={"open": "read_only"})
        with self.server.client("gil", made["key"]) as gil:
            self.assertEqual([one["name"] for one in gil.stores()], ["open"])
            self.assertEqual(gil.query("open.count()").count, 0)
            for work in (
                lambda: gil.store("open").insert({}),
                lambda: gil.query("shut.count()"),
                lambda: gil.query("open.lookup(shut, a = b)").all(),
            ):
                with self.assertRaises(DeniedError) as forbidden:
                    work()
                self.assertEqual(forbidden.exception.status, Status.FORBIDDEN)
            self.client.alter_user("gil", grants={"open": None, "shut": "read_write"})
            gil.store("shut").insert({})
            (row,) = (one for one in self.client.users() if one["name"] == "gil")
            self.assertEqual((row["role"], row["grants"]), ("none", {"shut": "read_write"}))
        for grants, status in (({"shut": "admin"}, 1212), ({"gone": "none"}, 1202)):
            with self.assertRaises(ServerError) as refused:
                self.client.alter_user("gil", grants=grants)
            self.assertEqual(refused.exception.status, status)

    def test_what_the_server_says_of_a_session(self) -> None:
        session = self.client.session()
        self.assertEqual((session["protocol"], session["user"], session["role"]), (1, "admin", "admin"))
        self.assertEqual((session["max_message_size"], session["max_in_flight"]), (16 << 20, 64))

    def test_another_fingerprint(self) -> None:
        wrong = ("0" if self.server.fingerprint[0] != "0" else "1") + self.server.fingerprint[1:]
        with self.server.client(fingerprint=wrong) as client:
            with self.assertRaises(FingerprintMismatch) as caught:
                client.ping()
        self.assertEqual(caught.exception.found, self.server.fingerprint)

    def test_the_service_of_a_directory(self) -> None:
        pem = (self.server.root / "tls" / "cert.pem").read_text()
        self.assertEqual(fingerprint_of_pem(pem), self.server.fingerprint)
        with Client.local(self.server.root) as client:
            client.ping()


class Wire(Integration):
    """What the protocol says of packets that no client of good will sends."""

    def code(self, packet: Packet | None) -> int | None:
        return None if packet is None else packet.code

    def test_something_else_than_an_auth_first(self) -> None:
        with self.server.raw() as raw:
            raw.send(Op.PING, 5)
            packet = raw.reply()
            assert packet is not None
            self.assertEqual((packet.code, packet.id), (1501, 5))
            self.assertIsNone(raw.reply())

    def test_an_auth_too_long(self) -> None:
        with self.server.raw() as raw:
            raw.send(Op.AUTH, 5, bytes(4096 - 24 + 1))
            self.assertEqual(self.code(raw.reply()), 1003)
            self.assertIsNone(raw.reply())

    def test_another_version(self) -> None:
        with self.server.raw() as raw:
            data = encode_packet(Packet(Kind.REQUEST, Op.PING, 5))
            raw.bytes(data[:4] + b"\2" + data[5:])
            packet = raw.reply()
            assert packet is not None
            self.assertEqual((packet.code, packet.id), (1004, 5))
            self.assertIsNone(raw.reply())

    def test_what_is_no_packet(self) -> None:
        cancel_with_a_body = b"PLNK\1\2" + bytes(10) + b"\1" + bytes(7)
        for data in (b"GET / HTTP/1.1\r\nHost: planck\r\n\r\n", b"PLNK\1\3" + bytes(18), cancel_with_a_body):
            with self.subTest(data), self.server.raw() as raw:
                self.assertEqual(self.code(raw.auth()), 0)
                raw.bytes(data)
                packet = raw.reply()
                assert packet is not None
                self.assertEqual((packet.code, packet.id), (1001, 0))
                self.assertIsNone(raw.reply())

    def test_what_leaves_the_session_as_it_is(self) -> None:
        with self.server.raw() as raw:
            self.assertEqual(self.code(raw.auth()), 0)
            for code, body, status in (
                (9999, b"", 1002),
                (Op.PING, b"\0", 1001),
                (Op.READ, b"\xff\xff", 1001),
                (Op.AUTH, encode_request(Op.AUTH, {"user": "admin", "key": "another"}), 1001),
                (Op.CREATE_STORE, b"\1\0a\2", 1001),
            ):
                raw.send(code, 7, body)
                packet = raw.reply()
                assert packet is not None
                self.assertEqual((packet.code, packet.id), (status, 7), (code, packet.body))
            raw.send(0, 99, b"", Kind.CANCEL)
            raw.send(Op.PING, 8)
            self.assertEqual(self.code(raw.reply()), 0)

    def test_requests_right_behind_the_auth(self) -> None:
        with self.server.raw() as raw:
            raw.bytes(
                encode_packet(Packet(Kind.REQUEST, Op.AUTH, 1, raw._auth))
                + b"".join(encode_packet(Packet(Kind.REQUEST, Op.PING, n)) for n in range(2, 30))
            )
            ids = [packet.id for packet in (raw.reply() for _ in range(29)) if packet is not None]
            self.assertEqual(ids, list(range(1, 30)))

    def test_a_request_too_long_ends_the_session(self) -> None:
        with self.server.raw() as raw:
            self.assertEqual(self.code(raw.auth()), 0)
            head = encode_packet(Packet(Kind.REQUEST, Op.PING, 9))[:16]
            raw.bytes(head + (16 << 20).to_bytes(4, "little") + bytes(4))
            packet = raw.reply()
            assert packet is not None
            self.assertEqual((packet.code, packet.id), (1003, 9))
            self.assertIsNone(raw.reply())

    def test_a_second_auth_through_the_client(self) -> None:
        body = encode_request(Op.AUTH, {"user": "admin", "key": self.server.key})
        with self.assertRaises(InvalidError):
            self.client.run(Call(Op.AUTH, body, False, lambda reply, connection: None))
        self.client.ping()


class Changes(Integration):
    def test_what_changes_is_told_once_each(self) -> None:
        store = self.client.store("changing")
        store.create()
        store.insert({"n": 1}, KEY)
        watch = self.client.watch(["changing"], documents=True, wait=2.0)
        told = [next(watch), next(watch)]
        self.assertEqual((told[0].key, told[1]), (KEY, None))
        store.replace(KEY, {"n": 2})
        store.delete(KEY)
        events = [next(watch), next(watch)]
        self.assertEqual([event.op for event in events], ["update", "delete"])
        again = self.client.watch(["changing"], since=events[0].token, wait=2.0)
        self.assertEqual(next(again).lsn, events[1].lsn)


class Restarts(Integration):
    def test_the_client_finds_the_server_again(self) -> None:
        store = self.client.store("kept")
        store.create()
        store.insert({"n": 1}, KEY)
        cursor = self.client.query("kept.all()")
        self.server.stop()
        with self.server.client(retries=0) as impatient, self.assertRaises(ConnectFailed):
            impatient.store("kept").insert({})
        self.server.start()
        self.assertEqual(store.get(KEY), {"n": 1})
        store.insert({"n": 2})
        self.assertEqual(self.client.query("kept.count()").count, 2)
        self.assertEqual(len(cursor.all()), 1)  # its only page was here already

    def test_a_server_that_comes_back_while_it_is_asked(self) -> None:
        self.client.store("waited").create()
        self.server.stop()
        starting = threading.Timer(0.3, self.server.start)
        starting.start()
        with self.server.client(retries=12) as client:
            client.store("waited").insert({})
        starting.join()


class Replication(Integration):
    def test_who_leads(self) -> None:
        store = self.client.store("led")
        store.create()
        at = self.client.position()
        self.assertEqual((at["role"], at["primary"]), ("primary", None))
        self.assertGreaterEqual(self.client.position(at["lsn"], max_wait_ms=1000)["lsn"], at["lsn"])
        asked = {"replica": "1" * 32, "name": "x", "from": 1, "skip": 0, "durable": 0, "terms": b""}
        for work, status in [
            (lambda: self.client.promote(), 1447),
            (lambda: self.client.run(calls.follow({**asked, "set": "0" * 32, "max_bytes": 1, "max_wait_ms": 0})), 1443),
            (lambda: self.client.run(calls.follow({})), 1446),
        ]:
            with self.assertRaises(ServerError) as caught:
                work()
            self.assertEqual(caught.exception.status, status)
        made = self.client.run(calls.snapshot({"begin": True, "name": "x"}))
        self.assertEqual(made["state"], "making")
        try:
            self.assertGreaterEqual(self.client.demote()["lsn"], at["lsn"])
            with self.assertRaises(ServerError) as refused:
                store.insert({"n": 1})
            self.assertEqual(refused.exception.status, 1440)
        finally:
            self.assertEqual(self.client.promote()["term"], 1)
        store.insert({"n": 1})


@unittest.skipUnless(BINARY, "PLANCK_BINARY names no server")
class WrongKeys(unittest.TestCase):
    """A server of its own: failures lock the address out."""

    def test_wrong_keys(self) -> None:
        server = Server()
        self.addCleanup(server.close)
        statuses = []
        for _ in range(9):
            with server.client(key="not the key at all") as client, self.assertRaises(DeniedError) as caught:
                client.ping()
            statuses.append(caught.exception.status)
        self.assertEqual(statuses[:5], [1502] * 5)
        # The server's own machine has turns behind the lock, further and further apart.
        self.assertIn(1504, statuses[5:])
        self.assertEqual(set(statuses), {1502, 1504})

    def test_without_tls(self) -> None:
        server = PlainServer("tls:\n  enabled: false\n")
        self.addCleanup(server.close)
        with Client(server.address, user="admin", key=server.key, plaintext=True) as client:
            client.store("plain").create()
            self.assertEqual(client.store("plain").get(client.store("plain").insert({"a": 1})), {"a": 1})
        with server.client(fingerprint="0" * 64, retries=0, connect_timeout=12.0) as client:
            with self.assertRaises(ConnectFailed):
                client.ping()


@unittest.skipUnless(BINARY, "PLANCK_BINARY names no server")
class ZCoverage(unittest.TestCase):
    """Last by its name: every operation was asked of the server."""

    def test_every_operation_was_sent(self) -> None:
        if len(seen) < 10:
            self.skipTest("only some tests were run")
        self.assertEqual({op.name for op in Op} - {op.name for op in seen}, set())


if __name__ == "__main__":
    unittest.main()
