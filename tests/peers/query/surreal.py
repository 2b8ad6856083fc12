"""SurrealDB, embedded in this process, for the program `query`: see `child.py`."""

import json

import child


class Surreal(child.Engine):
    def __init__(self, path):
        # Here, so that its absence is answered like any other failure.
        import surrealdb

        self.db = surrealdb.Surreal(f"surrealkv://{path}")
        self.db.connect()
        self.db.use("bench", "bench")

    def version(self):
        return str(self.db.version())

    def close(self):
        self.db.close()

    def run(self, sql):
        self.db.query(sql)

    def insertion(self, table, rows):
        given = {"rows": [{"id": key, **json.loads(text)} for key, text in rows]}
        sql = f"INSERT INTO {table} $rows RETURN NONE"
        return lambda: self.db.query(sql, given)

    def question(self, sql, values):
        given = {f"p{n + 1}": value for n, value in enumerate(values)}
        return lambda: self.db.query(sql, given)

    def number(self, answer):
        return answer[0]["n"] if answer else 0

    def shown(self, answer):
        return [{k: v for k, v in row.items() if k != "id"} for row in answer]


child.serve(Surreal)
