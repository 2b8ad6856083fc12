"""What the engines that run in a Python process beside `query` have in common.

Reads one order a line from stdin (JSON) and writes one answer a line to stdout. It takes
the times itself, around carrying out and fetching, so that the pipe between costs nothing;
what an engine's Python driver costs is part of them. An order that fails is answered with
its error.
"""

import json
import os
import sys
import time


class Engine:
    """What an engine has to say of itself."""

    def version(self):
        """Its version, and how it is set up."""
        raise NotImplementedError

    def close(self):
        """The end."""
        raise NotImplementedError

    def run(self, sql):
        """Carries out a statement."""
        raise NotImplementedError

    def insertion(self, table, rows):
        """A function that inserts these (lists, the key first); making it is not timed."""
        raise NotImplementedError

    def question(self, sql, values):
        """A function that asks and fetches the whole answer."""
        raise NotImplementedError

    def size(self, answer):
        """How many rows an answer has."""
        return len(answer)

    def number(self, answer):
        """The number that an answer is."""
        raise NotImplementedError

    def shown(self, answer):
        """An answer as a list of dictionaries."""
        raise NotImplementedError


def timed(steps, budget, count):
    """Runs these until the budget (in seconds) is used up, at least one."""
    times, counts, last, left = [], [], None, budget * 1e9
    for step in steps:
        before = time.perf_counter_ns()
        last = step()
        times.append(time.perf_counter_ns() - before)
        counts.append(count(last))
        left -= times[-1]
        if left < 0:
            break
    return {"times": times, "counts": counts}, last


def insert(engine, order):
    """Rows one by one, or all at once."""
    rows = order["rows"]
    parts = ([row] for row in rows) if order["each"] else [rows]
    steps = (engine.insertion(order["table"], part) for part in parts)
    return timed(steps, order["budget"], lambda _: 1)[0]


def ask(engine, order):
    """One query with each of these lists of parameters."""
    steps = (engine.question(order["sql"], values) for values in order["list"])
    count = engine.number if order["number"] else engine.size
    answer, last = timed(steps, order["budget"], count)
    return {**answer, "rows": engine.shown(last)} if order["show"] else answer


def run(engine, order):
    """Statements, one after the other."""
    for sql in order["sql"]:
        engine.run(sql)
    return {}


def serve(start):
    """Starts an engine with the arguments of this process, and does as it is told."""
    # What a driver prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(work):
        try:
            line = work()
        except Exception as error:
            line = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(line), file=answers, flush=True)

    engines = []

    def begin():
        engines.append(start(*sys.argv[1:]))
        return {"version": engines[0].version()}

    answer(begin)
    orders = {"insert": insert, "ask": ask, "run": run}
    for line in sys.stdin:
        order = json.loads(line)
        answer(lambda: orders[order["do"]](engines[0], order))
    for engine in engines:
        engine.close()
