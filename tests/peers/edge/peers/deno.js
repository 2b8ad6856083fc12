// The peer whose data is in its process: Deno.serve and Deno KV. The tables are loaded at
// start, of EDGE_ROWS: a line of JSON for each document.

const { EDGE_KV, EDGE_ROWS, EDGE_STATIC } = Deno.env.toObject();
const kv = await Deno.openKv(EDGE_KV);

let batch = kv.atomic();
let inBatch = 0;
const text = await Deno.readTextFile(EDGE_ROWS);
for (const line of text.split("\n")) {
  if (!line) continue;
  const [table, key, document] = JSON.parse(line);
  batch.set([table, key], document);
  if (++inBatch === 500) {
    await batch.commit();
    [batch, inBatch] = [kv.atomic(), 0];
  }
}
await batch.commit();

const plain = { "content-type": "text/plain; charset=utf-8" };
const missing = () => new Response("there is no such flight", { status: 404, headers: plain });

async function joined(id) {
  const flight = (await kv.get(["flights", id])).value;
  if (!flight) return missing();
  const { carrier, tailnum, origin, dest, time_hour } = flight;
  // Reads of one moment, in one call.
  const [airline, plane, from, to, weather] = await kv.getMany([
    ["airlines", carrier],
    ["planes", tailnum ?? ""],
    ["airports", origin],
    ["airports", dest],
    ["weather", `${origin} ${time_hour}`],
  ]);
  const reports = [];
  for await (const { value } of kv.list({ prefix: ["reports", id] })) reports.push(value);
  return Response.json({
    key: id, flight, airline: airline.value, plane: plane.value, origin: from.value,
    dest: to.value, weather: weather.value, reports,
  });
}

async function report(id, request) {
  const form = new URLSearchParams(await request.text());
  if (!(await kv.get(["flights", id])).value) return missing();
  const document = {
    flight: id, name: form.get("name"), minutes: Number(form.get("minutes")),
    reason: form.get("reason"), reported_at: Date.now(),
  };
  for (let tries = 0; tries < 16; tries++) {
    let number = 1;
    const latest = kv.list({ prefix: ["reports", id] }, { limit: 1, reverse: true });
    for await (const { key } of latest) number = key[2] + 1;
    const key = ["reports", id, number];
    const done = await kv.atomic().check({ key, versionstamp: null }).set(key, document).commit();
    if (done.ok) {
      const location = `/flights/${id}?thanks#reports`;
      return new Response(null, { status: 303, headers: { location } });
    }
  }
  return new Response("try again", { status: 503, headers: plain });
}

async function answer(request) {
  const parts = new URL(request.url).pathname.split("/");
  if (request.method === "POST" && parts[1] === "flights" && parts[3] === "reports") {
    return await report(parts[2], request);
  }
  if (parts[1] !== "api") {
    const file = await Deno.open(`${EDGE_STATIC}/${parts[1]}`);
    return new Response(file.readable, { headers: plain });
  }
  if (parts[2] === "health") return new Response("ok\n", { headers: plain });
  if (parts[2] === "flights") return await joined(parts[3]);
  const { value } = await kv.get(["flights", parts[3]]);
  return value ? Response.json(value) : missing();
}

Deno.serve({
  hostname: "127.0.0.1",
  port: 0,
  onListen: ({ port }) => console.log(`http://127.0.0.1:${port}`),
}, answer);
