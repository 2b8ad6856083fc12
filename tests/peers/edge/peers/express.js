// The peer in JavaScript: Express, a pool of PostgreSQL connections, named (so prepared)
// statements. EDGE_SOCKET is the directory of the database's socket.

import express from "express";
import pg from "pg";

const { EDGE_SOCKET, EDGE_STATIC, EDGE_JOINED, EDGE_INSERT } = process.env;
const pool = new pg.Pool({ host: EDGE_SOCKET, user: "postgres", database: "postgres", max: 8 });
const POINT = "SELECT doc::text FROM flights WHERE id = $1";

const one = (name, text) => async (request, response) => {
  const { rows } = await pool.query({ name, text, values: [request.params.id], rowMode: "array" });
  if (rows.length === 0) return response.status(404).type("text").send("there is no such flight");
  response.type("json").send(rows[0][0]);
};

const app = express();
app.disable("x-powered-by");
app.disable("etag");
app.get("/api/health", (_, response) => response.type("text").send("ok\n"));
app.get("/api/point/:id", one("point", POINT));
app.get("/api/flights/:id", one("joined", EDGE_JOINED));
app.post("/flights/:id/reports", express.urlencoded({ extended: false }), async (request, response) => {
  const { id } = request.params;
  const { name, minutes, reason } = request.body;
  const document = { flight: id, name, minutes: Number(minutes), reason, reported_at: Date.now() };
  for (let tries = 0; tries < 16; tries++) {
    const values = [id, JSON.stringify(document)];
    const { rowCount } = await pool.query({ name: "insert", text: EDGE_INSERT, values });
    if (rowCount === 1) return response.redirect(303, `/flights/${id}?thanks#reports`);
  }
  response.status(404).type("text").send("there is no such flight");
});
app.use(express.static(EDGE_STATIC));

const server = app.listen(0, "127.0.0.1", () => {
  console.log(`http://127.0.0.1:${server.address().port}`);
});
