// What a guest written in AssemblyScript needs: requests, responses, and the service's own
// stores as function calls. A guest's entry file calls `serve`, and exports what this file
// exports for the guest ABI (docs/abi.md):
//
//   export { planck_abi, alloc, init, process } from "planck";
//
// and is compiled with `--use abort=..` of the function here, so that it needs no JavaScript.

import { Buffer, Level, Reader, log, request, requestService, send, text, utf8 } from "./host";
import { Doc } from "./document";

export { Buffer, Level, log, now, random, text, utf8 } from "./host";
export { Doc, DocBuilder, Value } from "./document";

// ---- Failures ----

/** Why the last function that gave null or false failed. */
export class Failure {
  constructor(
    /** Of the response. */
    public http: i32,
    /** Of the engine (docs/protocol.md), or 0 where the guest itself refused. */
    public status: i32,
    public message: Uint8Array,
  ) {}

  /** Whether an operator must look: the log is told then, the client is not. */
  get isFault(): bool {
    const status = this.status;
    return this.http == 500 || status == 1703 || status == 1706 || status == 1707 || status == 1901;
  }

  /** Whether nobody takes the response any more. */
  get isGone(): bool {
    return this.status == 1305 || this.status == 1603;
  }
}

export let failure: Failure = unexpected();

function unexpected(): Failure {
  return new Failure(500, 1999, utf8("the host gave a reply that cannot be read"));
}

/** The body of a reply packet, or null. */
function bodyOf(packet: Uint8Array): Reader | null {
  const reader = new Reader(packet);
  reader.bytes(6);
  const status = reader.u16();
  reader.bytes(16);
  if (!reader.bad && status == 0) return reader;
  failure = reader.bad ? unexpected() : new Failure(httpStatus(status), status, reader.rest);
  return null;
}

function httpStatus(status: i32): i32 {
  switch (status) {
    case 1003: case 1102: case 1104: case 1106: case 1403: case 1404: case 1410: return 413;
    case 1202: case 1204: case 1207: case 1210: case 1214: case 1217: case 1301: case 1405: case 1406: case 1407: case 1408: case 1423: return 404;
    case 1203: case 1205: case 1208: case 1211: case 1213: case 1215: case 1216: return 409;
    case 1302: case 1303: case 1304: case 1305: case 1340: case 1421: case 1422: case 1424: case 1603: return 409;
    case 1441: case 1442: case 1443: case 1444: case 1447: return 409;
    case 1501: case 1502: return 401;
    case 1503: case 1701: return 403;
    case 1504: return 429;
    case 1702: return 400;
    case 1703: case 1705: case 1707: case 1708: return 502;
    case 1440: case 1601: case 1704: case 1901: return 503;
    case 1445: case 1602: case 1706: return 504;
    default: return status < 1500 ? 400 : 500;
  }
}

// ---- HTTP ----

export class Request {
  method: string = "";
  /** Without the query. */
  path: string = "";
  /** Behind the '?', or empty. */
  query: string = "";
  /** Address of the client. */
  peer: string = "";
  body: Uint8Array = new Uint8Array(0);
  private headers: Uint8Array = new Uint8Array(0);

  static decode(message: Uint8Array): Request | null {
    const reader = new Reader(message);
    if (reader.u8() != 1) return null;
    const request = new Request();
    request.method = text(reader.text16());
    const target = text(reader.bytes(reader.u32()));
    request.peer = text(reader.text16());
    const count = reader.u16();
    const before = reader.rest;
    for (let i = 0; i < 2 * count && !reader.bad; i++) reader.text16();
    if (reader.bad) return null;
    request.headers = before.subarray(0, before.length - reader.rest.length);
    request.body = reader.rest;
    const end = target.indexOf("?");
    request.path = end < 0 ? target : target.substring(0, end);
    request.query = end < 0 ? "" : target.substring(end + 1);
    return request;
  }

  /** The value of a header, named in lower case; null if it is not there. */
  header(name: string): string | null {
    const reader = new Reader(this.headers);
    while (reader.rest.length > 0 && !reader.bad) {
      const found = text(reader.text16());
      const value = reader.text16();
      if (!reader.bad && found == name) return text(value);
    }
    return null;
  }

  /** The value of a parameter of the query, as it was sent; null if it is not there. */
  parameter(name: string): string | null {
    const pairs = this.query.split("&");
    for (let i = 0; i < pairs.length; i++)
      if (pairs[i].startsWith(name + "=")) return pairs[i].substring(name.length + 1);
    return null;
  }

  /** An HTTP request as a packet for `callService`. */
  static packet(method: string, target: string, body: Uint8Array): Uint8Array {
    const path = utf8(target);
    const out = new Buffer().putByte(1).putText16(method).putU32(path.length).put(path);
    return out.putU32(0).put(body).all(); // no peer, no headers
  }
}

export class Response {
  status: i32 = 200;
  body: Buffer = new Buffer();
  private count: i32 = 0;
  private headers: Buffer = new Buffer();
  private begun: bool = false;
  private broken: bool = false;

  /** Adds a header; name and value have at most 65,535 bytes. */
  header(name: string, value: string): void {
    this.count++;
    this.headers.putText16(name).putText16(value);
  }

  /** The guest's own refusal: a problem in JSON. */
  refuse(http: i32, message: string): void {
    this.problem(new Failure(http, 0, utf8(message)));
  }

  /** The problem that `failure` is. */
  fail(): void {
    this.problem(failure);
  }

  /**
   * Sends status, headers and what there is of the body now, and empties the body. More goes
   * by `write` while the handler runs; what it leaves in the body is the last piece. A
   * refusal behind it breaks the response off, and the log says why.
   *
   * What the call has written so far takes effect first, and what it reads from then on is of
   * a later moment. False: the client has gone, or others changed what the call had read and
   * the host runs it again; either way the handler returns, with whatever it likes.
   */
  begin(): bool {
    const head = this.encode();
    this.body = new Buffer();
    this.begun = true;
    return this.write(head);
  }

  /** Sends the next piece of the body, behind `begin`. False: as there. */
  write(piece: Uint8Array): bool {
    const status = send(piece);
    if (status == 0) return true;
    failure = new Failure(httpStatus(status), status, utf8("nobody takes the response any more"));
    return false;
  }

  /** Whether what has begun is to break off. */
  get isBroken(): bool {
    return this.broken;
  }

  private problem(why: Failure): void {
    this.broken = this.begun;
    if (why.isFault || (this.begun && !why.isGone)) log(Level.Error, text(why.message));
    this.status = why.http;
    this.count = 0;
    this.headers = new Buffer();
    this.header("content-type", "application/problem+json");
    const out = new Buffer().putText('{"status":' + why.http.toString());
    if (why.status != 0) out.putText(',"code":"PLK-' + why.status.toString() + '"');
    out.putText(',"detail":');
    if (why.isFault) {
      out.putText('"the service failed; its log says why"');
    } else {
      out.putJson(why.message);
    }
    this.body = out.putByte(125);
  }

  encode(): Uint8Array {
    if (this.begun) return this.body.all();
    const out = new Buffer().putByte(1).putU16(this.status).putU16(this.count);
    return out.put(this.headers.all()).put(this.body.all()).all();
  }
}

// ---- The service's data ----

/** The primary key of a document. */
export class Key {
  constructor(public bytes: Uint8Array) {}

  /** A key out of its 32 digits; null if they are none. */
  static parse(digits: string): Key | null {
    if (digits.length != 32) return null;
    const bytes = new Uint8Array(16);
    for (let i = 0; i < 32; i++) {
      const digit = "0123456789abcdef".indexOf(digits.charAt(i));
      if (digit < 0) return null;
      bytes[i >> 1] = (bytes[i >> 1] << 4) | <u8>digit;
    }
    return new Key(bytes);
  }

  toString(): string {
    return text(new Buffer().putHex(this.bytes).all());
  }
}

enum Operation { CreateStore = 5, Insert = 7, Read = 9, Query = 14, Schedule = 48 }
enum Tag { Empty = 0, Key = 1, Rows = 5 }

function packet(operation: Operation): Buffer {
  // Behind the id: the body's length, known later, and no patience of our own.
  return new Buffer().putText("PLNK\x01\x00").putU16(operation).putI64(1).putI64(0);
}

function ask(out: Buffer, tag: Tag): Reader | null {
  out.setU32(16, out.len - 24);
  const body = bodyOf(request(out.all()));
  if (!body || body.u8() == tag) return body;
  failure = unexpected();
  return null;
}

/** Makes a store unless it exists. */
export function createStore(store: string): bool {
  return ask(packet(Operation.CreateStore).putText16(store).putByte(1), Tag.Empty) != null;
}

/** Adds a document under a new key; null if it failed. */
export function insert(store: string, doc: Uint8Array): Key | null {
  const out = packet(Operation.Insert).putText16(store);
  const body = ask(out.putByte(0).putI64(0).putI64(0).put(doc), Tag.Key); // no key of ours
  return body ? new Key(body.bytes(16)) : null;
}

/**
 * Has a job run once this call is committed: a document, {path, upstream?, payload?, in_ms?, ..},
 * as docs/jobs.md has it. Null if it was refused.
 */
export function schedule(job: Uint8Array): Key | null {
  const body = ask(packet(Operation.Schedule).put(job), Tag.Key);
  return body ? new Key(body.bytes(16)) : null;
}

/** A document of a result; its key is zeros if the query gives none. */
export class Row {
  constructor(public key: Key, public doc: Doc) {}
}

function rows(out: Buffer): Row[] | null {
  const body = ask(out, Tag.Rows);
  if (!body) return null;
  const keyed = body.u8() == 1;
  body.bytes(17); // where to go on
  const found: Row[] = [];
  for (let left = body.u32(); left > 0; left--) {
    const key = keyed ? body.bytes(16) : new Uint8Array(16);
    const doc = body.bytes(new Reader(body.rest).u32());
    if (body.bad) {
      failure = unexpected();
      return null;
    }
    found.push(new Row(new Key(key), new Doc(doc)));
  }
  return found;
}

/** The document under a key; null, with status 1301 in `failure`, if there is none. */
export function read(store: string, key: Key): Doc | null {
  const found = rows(packet(Operation.Read).putText16(store).put(key.bytes));
  if (!found) return null;
  if (found.length == 1) return found[0].doc;
  failure = unexpected();
  return null;
}

/**
 * Runs PQL and gives one page of rows: what fits a reply; null if it failed. Parameters are
 * a document of $1, $2 under the names "1", "2", or empty.
 */
export function query(pql: string, parameters: Uint8Array): Row[] | null {
  const bytes = utf8(pql);
  return rows(packet(Operation.Query).putU32(bytes.length).put(bytes).put(parameters));
}

/** Sends a packet to an upstream service; the body of its reply, or null if it failed. */
export function callService(name: string, packet: Uint8Array): Uint8Array | null {
  const body = bodyOf(requestService(name, packet));
  return body ? body.rest : null;
}

// ---- The exports ----

let start: () => void = () => {};
let handler: (request: Request, response: Response) => void = (_request, _response) => {};
let requestAt: usize = 0;
// Referred to here until the host has read it.
let answer: Uint8Array = new Uint8Array(0);

/** What the guest does: once in each instance, and for each request. */
export function serve(once: () => void, each: (request: Request, response: Response) => void): void {
  start = once;
  handler = each;
}

export function planck_abi(): i32 {
  return 1;
}

// Asked for between calls, when the buffer before is nobody's any more: so there is no free.
export function alloc(len: i32): usize {
  if (requestAt != 0) heap.free(requestAt);
  requestAt = heap.alloc(len);
  return requestAt;
}

export function init(): void {
  start();
}

export function process(at: usize, len: i32): i64 {
  // Copied: what the guest keeps of it must be its own.
  const message = new Uint8Array(len);
  memory.copy(message.dataStart, at, len);
  const request = Request.decode(message);
  if (!request) {
    log(Level.Error, "the request cannot be read: the host is of another version");
    return -1;
  }
  const response = new Response();
  handler(request, response);
  if (response.isBroken) return -1;
  answer = response.encode();
  return (<i64>answer.dataStart << 32) | answer.length;
}

/** What AssemblyScript calls when it cannot go on: said in the log, then a trap. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  const what = message ? message : "aborted";
  const where = file ? file : "?";
  log(Level.Error, what + " at " + where + ":" + line.toString() + ":" + column.toString());
  unreachable();
}
