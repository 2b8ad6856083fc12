"""SurrealDB, embedded in this process, for the program `query`.

Reads one order a line from stdin (JSON) and writes one answer a line to stdout. It takes
the times itself, so that the pipe between costs nothing; what its Python driver costs is
part of them.
"""

import json
import sys
import time

from surrealdb import Surreal


def insert(db, order):
    """Documents one by one, or all at once; their parsing is not part of the times."""
    rows = [{"id": key, **json.loads(text)} for key, text in order["rows"]]
    sql = f"INSERT INTO {order['table']} $rows RETURN NONE"
    parts = [[row] for row in rows] if order["each"] else [rows]
    times = []
    for part in parts:
        before = time.perf_counter_ns()
        db.query(sql, {"rows": part})
        times.append(time.perf_counter_ns() - before)
    return {"times": times}


def count(rows, kind):
    """What an answer counts: rows, or the number that it is."""
    if kind == "count":
        return rows[0]["n"] if rows else 0
    return len(rows)


def ask(db, order):
    """One query with each of these lists of parameters."""
    times, total, rows = [], 0, []
    for values in order["list"]:
        given = {f"p{n + 1}": value for n, value in enumerate(values)}
        before = time.perf_counter_ns()
        rows = db.query(order["sql"], given)
        times.append(time.perf_counter_ns() - before)
        total += count(rows, order["kind"])
    shown = [{k: v for k, v in row.items() if k != "id"} for row in rows] if order["show"] else []
    return {"times": times, "total": total, "rows": shown}


def run(db, order):
    """Statements, one after the other."""
    for sql in order["sql"]:
        db.query(sql)
    return {}


def main():
    with Surreal(f"surrealkv://{sys.argv[1]}") as db:
        db.use("bench", "bench")
        print(json.dumps({"version": str(db.version())}), flush=True)
        orders = {"insert": insert, "ask": ask, "run": run}
        for line in sys.stdin:
            order = json.loads(line)
            print(json.dumps(orders[order["do"]](db, order)), flush=True)


main()
