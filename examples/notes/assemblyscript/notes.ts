// The notes of README.md, in AssemblyScript.

import {
  Buffer, Doc, DocBuilder, Key, Level, Request, Response, callService, createStore, failure, insert,
  log, now, query, random, read, serve, text, utf8,
} from "../../../sdk/assemblyscript/planck";

export { planck_abi, alloc, init, process } from "../../../sdk/assemblyscript/planck";

function start(): void {
  if (!createStore("notes")) log(Level.Error, text(failure.message));
}

/** 1 to 32 of a to z, 0 to 9 and _. */
function isName(name: string): bool {
  for (let i = 0; i < name.length; i++) {
    const c = name.charCodeAt(i);
    if (!(c == 95 || (c >= 97 && c <= 122) || (c >= 48 && c <= 57))) return false;
  }
  return name.length >= 1 && name.length <= 32;
}

const BAD_NAME = "a name is 1 to 32 of a to z, 0 to 9 and _";

function putNote(out: Buffer, key: Key, doc: Doc): void {
  out.putText('{"key":"').putHex(key.bytes);
  out.putText('","by":').putJson(doc.text("by"));
  out.putText(',"text":').putJson(doc.text("text"));
  out.putText(',"at":' + doc.int("at").toString());
  out.putText(',"tag":').putJson(doc.text("tag"));
  out.putText(doc.bool("pinned") ? ',"pinned":true' : ',"pinned":false');
  out.putText(',"seconds":' + (<i64>(60.0 * doc.double("minutes"))).toString() + "}");
}

function json(response: Response): void {
  response.header("content-type", "application/json");
}

function add(request: Request, response: Response): void {
  const by = request.parameter("by");
  if (by == null) return response.refuse(400, "say who you are: ?by=NAME");
  if (!isName(by)) return response.refuse(400, BAD_NAME);
  if (request.body.length < 1 || request.body.length > 1000)
    return response.refuse(400, "a note has 1 to 1000 bytes of text");

  const tag = new Buffer().putHex(random(4)).all();
  const doc = new DocBuilder().text("by", utf8(by)).text("text", request.body);
  doc.date("at", now() / 1000).text("tag", tag).bool("pinned", request.header("x-pinned") == "yes");
  const key = insert("notes", doc.double("minutes", <f64>request.body.length / 1000).finish());
  if (!key) return response.fail();

  log(Level.Info, "a note by " + by);
  response.status = 201;
  json(response);
  response.header("location", "/notes/" + key.toString());
  response.body.putText('{"key":"' + key.toString() + '"}');
}

/** 1 to 100, or 0 if it is none of these. */
function limitOf(digits: string): i32 {
  let limit = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = digits.charCodeAt(i) - 48;
    if (i == 3 || digit < 0 || digit > 9) return 0;
    limit = 10 * limit + digit;
  }
  return limit <= 100 ? limit : 0;
}

function list(request: Request, response: Response): void {
  const by = request.parameter("by");
  if (by != null && !isName(by)) return response.refuse(400, BAD_NAME);
  const digits = request.parameter("limit");
  const limit = digits == null ? 20 : limitOf(digits);
  if (limit == 0) return response.refuse(400, "limit is a number from 1 to 100");

  let pql = "notes.orderBy(at desc).limit($1)";
  const parameters = new DocBuilder().int("1", limit);
  if (by != null) {
    pql = "notes.filter(by = $2).orderBy(at desc).limit($1)";
    parameters.text("2", utf8(by));
  }
  const rows = query(pql, parameters.finish());
  if (!rows) return response.fail();

  json(response);
  response.body.putText('{"notes":[');
  for (let i = 0; i < rows.length; i++) {
    if (i > 0) response.body.putText(",");
    putNote(response.body, rows[i].key, rows[i].doc);
  }
  response.body.putText("]}");
}

// All notes, the oldest first, a line each. They leave a page at a time; so a failure has a
// status of its own as long as nothing has left.
function lines(request: Request, response: Response): void {
  const by = request.parameter("by");
  if (by != null && !isName(by)) return response.refuse(400, BAD_NAME);
  response.header("content-type", "application/x-ndjson");
  let last = "0".repeat(32);
  for (let begun = false; ; begun = true) {
    let pql = "notes.filter(key > $1).limit(100)";
    const parameters = new DocBuilder().text("1", utf8(last));
    if (by != null) {
      pql = "notes.filter(key > $1 and by = $2).limit(100)";
      parameters.text("2", utf8(by));
    }
    const rows = query(pql, parameters.finish());
    if (!rows) return response.fail();
    if (!begun && !response.begin()) return;

    const piece = new Buffer();
    for (let i = 0; i < rows.length; i++) {
      last = rows[i].key.toString();
      putNote(piece, rows[i].key, rows[i].doc);
      piece.putByte(10);
    }
    if (rows.length > 0 && !response.write(piece.all())) return;
    if (rows.length < 100) return;
  }
}

function show(key: Key, response: Response): void {
  const doc = read("notes", key);
  if (!doc) return response.fail();
  json(response);
  putNote(response.body, key, doc);
}

function send(key: Key, request: Request, response: Response): void {
  const to = request.parameter("to");
  if (to == null) return response.refuse(400, "say where to: ?to=SERVICE");
  if (!isName(to)) return response.refuse(400, BAD_NAME);
  const doc = read("notes", key);
  if (!doc) return response.fail();
  const packet = Request.packet("POST", "/", doc.text("text"));
  if (callService(to, packet) == null) return response.fail();
  response.status = 202;
}

function handle(request: Request, response: Response): void {
  const get = request.method == "GET", post = request.method == "POST";
  if (request.path == "/notes") {
    if (get) return list(request, response);
    if (post) return add(request, response);
  }
  if (get && request.path == "/notes/lines") return lines(request, response);
  if (request.path.startsWith("/notes/")) {
    const key = Key.parse(request.path.substr(7, 32));
    const rest = request.path.substring(39);
    if (key) {
      if (get && rest == "") return show(key, response);
      if (post && rest == "/send") return send(key, request, response);
    }
  }
  response.refuse(404, "there is no such page");
}

serve(start, handle);
