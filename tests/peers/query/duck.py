"""DuckDB, in this process, for the program `query`: see `child.py`."""

import child


class Duck(child.Engine):
    def __init__(self, path, threads, memory):
        # Here, so that its absence is answered like any other failure.
        import duckdb

        # A killed process loses nothing, a power cut may: as with the others.
        settings = {"threads": threads, "memory_limit": memory, "fsync_mode": "NONE"}
        self.db = duckdb.connect(path, config=settings)
        self.about = f"DuckDB {duckdb.__version__}, {threads} threads, memory_limit {memory}"

    def version(self):
        return self.about

    def close(self):
        self.db.close()

    def run(self, sql):
        self.db.execute(sql)

    def insertion(self, table, rows):
        """A list for each column: of what works without pandas by far the fastest."""
        columns = [list(column) for column in zip(*rows)]
        values = ", ".join(f"unnest(${n + 1})" for n in range(len(columns)))
        return lambda: self.db.execute(f"INSERT INTO {table} SELECT {values}", columns)

    def question(self, sql, values):
        return lambda: self.db.execute(sql, values).fetchall()

    def number(self, answer):
        return answer[0][0]

    def shown(self, answer):
        names = [column[0] for column in self.db.description]
        return [dict(zip(names, row)) for row in answer]


child.serve(Duck)
