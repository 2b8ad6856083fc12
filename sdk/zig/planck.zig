//! What a guest written in Zig needs: requests, responses, and the service's own stores as
//! function calls. A guest's root file has `pub fn start() planck.Failed!void` and
//! `pub fn handle(*const planck.Request, *planck.Response) planck.Failed!void`; this one
//! exports the rest of the guest ABI (docs/abi.md).
//!
//! What must stay true:
//! * All memory a call takes is in one arena, which is emptied when the next call begins:
//!   nothing is freed (but see `nextPiece`), and no slice may be kept from one call to the
//!   next.
//! * Bytes are read within their bounds, whoever they come from.
//! * When memory ends, the call does, and the host says so in its log.

const std = @import("std");
const guest = @import("root");

const host = struct {
    extern "planck" fn host_request(ptr: [*]const u8, len: usize, out: [*]u8, cap: usize) i64;
    extern "planck" fn host_read(offset: usize, ptr: [*]u8, len: usize) i64;
    extern "planck" fn host_call_service(
        name: [*]const u8,
        name_len: usize,
        ptr: [*]const u8,
        len: usize,
        out: [*]u8,
        cap: usize,
    ) i64;
    extern "planck" fn host_log(level: i32, ptr: [*]const u8, len: usize) void;
    extern "planck" fn host_now() i64;
    extern "planck" fn host_random(ptr: [*]u8, len: usize) void;
    extern "planck" fn host_write(ptr: [*]const u8, len: usize) i64;
};

// ---- Failures ----

/// What a handler returns when it cannot go on. Why stands in `failure`, which becomes the
/// response: a problem in JSON.
pub const Failed = error{Failed};

pub const Failure = struct {
    /// Of the response.
    http: u16 = 500,
    /// Of the engine (docs/protocol.md), or 0 where the guest itself refused.
    status: u16 = 0,
    message: []const u8 = "",

    /// Whether an operator must look: the log is told then, the client is not.
    fn isFault(self: Failure) bool {
        return self.http == 500 or switch (self.status) {
            1703, 1706, 1707, 1901 => true,
            else => false,
        };
    }

    /// Whether nobody takes the response any more.
    fn isGone(self: Failure) bool {
        return self.status == 1305 or self.status == 1603;
    }
};

/// Why the last function failed.
pub var failure: Failure = .{};

/// A handler's own refusal: `return planck.refuse(400, "..")`.
pub fn refuse(http: u16, message: []const u8) Failed {
    failure = .{ .http = http, .message = message };
    return error.Failed;
}

fn failed(status: u16, message: []const u8) Failed {
    failure = .{ .http = httpStatus(status), .status = status, .message = message };
    return error.Failed;
}

fn unexpected() Failed {
    return failed(1999, "the host gave a reply that cannot be read");
}

fn httpStatus(status: u16) u16 {
    return switch (status) {
        1003, 1102, 1104, 1106, 1403, 1404, 1410 => 413,
        1202, 1204, 1207, 1210, 1214, 1217, 1301, 1405, 1406, 1407, 1408, 1423 => 404,
        1203, 1205, 1208, 1211, 1213, 1215, 1216, 1302, 1303, 1304, 1305, 1340, 1421, 1422, 1424, 1441, 1442, 1443, 1444, 1447, 1603 => 409,
        1501, 1502 => 401,
        1503, 1701 => 403,
        1504 => 429,
        1702 => 400,
        1703, 1705, 1707, 1708 => 502,
        1440, 1601, 1704, 1901 => 503,
        1445, 1602, 1706 => 504,
        else => if (status < 1500) 400 else 500,
    };
}

// ---- Bytes and documents ----

const memory = @import("bytes.zig");
const document = @import("document.zig");

pub const take = memory.take;
pub const nextPiece = memory.nextPiece;
pub const Buffer = memory.Buffer;
const Reader = memory.Reader;
pub const Doc = document.Doc;
pub const Value = document.Value;
pub const field = document.field;
pub const textOf = document.textOf;
pub const intOf = document.intOf;
pub const doubleOf = document.doubleOf;
pub const boolOf = document.boolOf;

// ---- HTTP ----

pub const Request = struct {
    method: []const u8,
    /// Without the query.
    path: []const u8,
    /// Behind the '?', or empty.
    query: []const u8,
    /// Address of the client.
    peer: []const u8,
    body: []const u8,
    headers: []const u8,

    fn decode(message: []const u8) ?Request {
        var in = Reader{ .rest = message };
        if ((in.int(u8) orelse return null) != 1) return null;
        const method = in.text16() orelse return null;
        const target = in.bytes(in.int(u32) orelse return null) orelse return null;
        const peer = in.text16() orelse return null;
        const count = in.int(u16) orelse return null;
        const before = in.rest;
        for (0..2 * @as(usize, count)) |_| _ = in.text16() orelse return null;
        var at: usize = 0;
        while (at < target.len and target[at] != '?') at += 1;
        return .{
            .method = method,
            .path = target[0..at],
            .query = target[@min(at + 1, target.len)..],
            .peer = peer,
            .body = in.rest,
            .headers = before[0 .. before.len - in.rest.len],
        };
    }

    /// The value of a header, named in lower case.
    pub fn header(self: *const Request, name: []const u8) ?[]const u8 {
        var in = Reader{ .rest = self.headers };
        while (true) {
            const found = in.text16() orelse return null;
            const value = in.text16() orelse return null;
            if (std.mem.eql(u8, found, name)) return value;
        }
    }

    /// The value of a parameter of the query, as it was sent.
    pub fn parameter(self: *const Request, name: []const u8) ?[]const u8 {
        var rest = self.query;
        while (rest.len > 0) {
            var end: usize = 0;
            while (end < rest.len and rest[end] != '&') end += 1;
            const pair = rest[0..end];
            if (pair.len > name.len and pair[name.len] == '=' and std.mem.startsWith(u8, pair, name))
                return pair[name.len + 1 ..];
            rest = rest[@min(end + 1, rest.len)..];
        }
        return null;
    }

    /// An HTTP request as a packet for `callService`.
    pub fn packet(method: []const u8, target: []const u8, body: []const u8) []const u8 {
        var out = Buffer{};
        out.putByte(1);
        out.putText16(method);
        out.putInt(u32, @intCast(target.len));
        out.put(target);
        out.putInt(u32, 0); // no peer, no headers
        out.put(body);
        return out.all();
    }
};

pub const Response = struct {
    status: u16 = 200,
    header_count: u16 = 0,
    headers: Buffer = .{},
    body: Buffer = .{},

    /// Adds a header; name and value have at most 65,535 bytes.
    pub fn addHeader(self: *Response, name: []const u8, value: []const u8) void {
        self.header_count += 1;
        self.headers.putText16(name);
        self.headers.putText16(value);
    }

    /// Sends status, headers and what there is of the body now, and empties the body. More
    /// goes by `write` while the handler runs; what it leaves in the body is the last piece.
    /// A handler that fails behind it breaks the response off, and the log says why.
    ///
    /// What the call has written so far takes effect first, and what it reads from then on is
    /// of a later moment. Fails if the client has gone, or if others changed what the call had
    /// read and the host runs it again: to be returned.
    pub fn begin(self: *Response) Failed!void {
        const head = self.message();
        self.body.len = 0;
        begun = true;
        try write(head.all());
    }

    fn message(self: *const Response) Buffer {
        var out = Buffer{};
        out.putByte(1);
        out.putInt(u16, self.status);
        out.putInt(u16, self.header_count);
        out.put(self.headers.all());
        out.put(self.body.all());
        return out;
    }

    fn problem(why: Failure) Response {
        var out = Response{ .status = why.http };
        out.addHeader("content-type", "application/problem+json");
        out.body.put("{\"status\":");
        out.body.putNumber(why.http);
        if (why.status != 0) {
            out.body.put(",\"code\":\"PLK-");
            out.body.putNumber(why.status);
            out.body.putByte('"');
        }
        out.body.put(",\"detail\":");
        if (why.isFault()) {
            log(.err, why.message);
            out.body.putJson("the service failed; its log says why");
        } else out.body.putJson(why.message);
        out.body.putByte('}');
        return out;
    }
};

/// Whether the head of this call has left.
var begun = false;

/// Sends the next piece of the body, behind `Response.begin`. Fails as that does.
pub fn write(piece: []const u8) Failed!void {
    const written = host.host_write(piece.ptr, piece.len);
    if (written < 0) return failed(@intCast(-written), "nobody takes the response any more");
}

// ---- The service's data ----

pub const Key = [16]u8;

/// A key out of its 32 digits; null if they are none.
pub fn parseKey(digits: []const u8) ?Key {
    var key: Key = @splat(0);
    if (digits.len != 32) return null;
    for (digits, 0..) |digit, i| {
        const value = switch (digit) {
            '0'...'9' => digit - '0',
            'a'...'f' => digit - 'a' + 10,
            else => return null,
        };
        key[i / 2] = key[i / 2] << 4 | value;
    }
    return key;
}

const Operation = enum(u16) { create_store = 5, insert = 7, read = 9, query = 14, schedule = 48 };
const Tag = enum(u8) { empty = 0, key = 1, rows = 5 };

fn packetOf(operation: Operation) Buffer {
    var out = Buffer{};
    out.put("PLNK\x01\x00");
    out.putInt(u16, @backingInt(operation));
    out.putInt(u64, 1);
    out.putInt(u64, 0); // the body's length, known later; no patience of our own
    return out;
}

/// What the host answered: read again whole if it did not fit; never asked for twice.
fn whole(out: []u8, total: i64) []const u8 {
    const len: usize = @intCast(total);
    if (len <= out.len) return out[0..len];
    const more = take(len);
    return more[0..@intCast(host.host_read(0, more.ptr, len))];
}

/// The body of a reply packet.
fn bodyOf(packet: []const u8) Failed!Reader {
    var in = Reader{ .rest = packet };
    _ = in.bytes(6) orelse return unexpected();
    const status = in.int(u16) orelse return unexpected();
    _ = in.bytes(16) orelse return unexpected();
    return if (status == 0) in else failed(status, in.rest);
}

fn ask(out: *Buffer, tag: Tag) Failed!Reader {
    std.mem.writeInt(u32, out.bytes[16..20], @intCast(out.len - 24), .little);
    const answer = take(4096);
    const total = host.host_request(out.bytes.ptr, out.len, answer.ptr, answer.len);
    var body = try bodyOf(whole(answer, total));
    return if (body.int(u8) == @backingInt(tag)) body else unexpected();
}

pub fn createStore(store: []const u8) Failed!void {
    var out = packetOf(.create_store);
    out.putText16(store);
    out.putByte(1);
    _ = try ask(&out, .empty);
}

/// Adds a document under a new key.
pub fn insert(store: []const u8, doc: []const u8) Failed!Key {
    var out = packetOf(.insert);
    out.putText16(store);
    out.put(&@as([17]u8, @splat(0))); // no key of ours
    out.put(doc);
    var body = try ask(&out, .key);
    const key = body.bytes(16) orelse return unexpected();
    return key[0..16].*;
}

/// Has a job run once this call is committed: a document, {path, upstream?, payload?, in_ms?,
/// ..}, as docs/jobs.md has it.
pub fn schedule(job: []const u8) Failed!Key {
    var out = packetOf(.schedule);
    out.put(job);
    var body = try ask(&out, .key);
    const key = body.bytes(16) orelse return unexpected();
    return key[0..16].*;
}

pub const Row = struct { key: ?Key, doc: []const u8 };

/// The rows of a query, one page: what fits a reply.
pub const Rows = struct {
    keyed: bool,
    left: u32,
    in: Reader,

    pub fn next(self: *Rows) ?Row {
        if (self.left == 0) return null;
        var key: ?Key = null;
        if (self.keyed) key = (self.in.bytes(16) orelse return null)[0..16].*;
        var ahead = self.in;
        const doc = self.in.bytes(ahead.int(u32) orelse return null) orelse return null;
        self.left -= 1;
        return .{ .key = key, .doc = doc };
    }
};

fn rows(out: *Buffer) Failed!Rows {
    var in = try ask(out, .rows);
    const keyed = in.int(u8) orelse return unexpected();
    _ = in.bytes(17) orelse return unexpected(); // where to go on
    const count = in.int(u32) orelse return unexpected();
    return .{ .keyed = keyed == 1, .left = count, .in = in };
}

/// The document under a key; fails with status 1301 if there is none.
pub fn read(store: []const u8, key: Key) Failed![]const u8 {
    var out = packetOf(.read);
    out.putText16(store);
    out.put(&key);
    var found = try rows(&out);
    const row = found.next() orelse return unexpected();
    return row.doc;
}

/// Runs PQL; `parameters` is a document of $1, $2 under the names "1", "2", or empty.
pub fn query(text: []const u8, parameters: []const u8) Failed!Rows {
    var out = packetOf(.query);
    out.putInt(u32, @intCast(text.len));
    out.put(text);
    out.put(parameters);
    return rows(&out);
}

// ---- The host ----

pub const Level = enum(i32) { err, warn, info, debug };

pub fn log(level: Level, line: []const u8) void {
    host.host_log(@backingInt(level), line.ptr, line.len);
}

/// Microseconds since 1970.
pub fn now() i64 {
    return host.host_now();
}

/// At most 65,536 bytes.
pub fn random(out: []u8) void {
    host.host_random(out.ptr, out.len);
}

/// Sends a packet to an upstream service; the body of its reply.
pub fn callService(name: []const u8, packet: []const u8) Failed![]const u8 {
    const out = take(4096);
    const total = host.host_call_service(name.ptr, name.len, packet.ptr, packet.len, out.ptr, out.len);
    return (try bodyOf(whole(out, total))).rest;
}

// ---- The exports ----

var request_buffer: []u8 = &.{};

export fn planck_abi() i32 {
    return 1;
}

/// Asked for between calls, when the buffer before is nobody's any more: so there is no free.
export fn alloc(len: usize) ?[*]u8 {
    std.heap.wasm_allocator.free(request_buffer);
    request_buffer = &.{};
    request_buffer = std.heap.wasm_allocator.alloc(u8, len) catch return null;
    return request_buffer.ptr;
}

export fn init() void {
    guest.start() catch log(.err, failure.message);
}

export fn process(ptr: [*]const u8, len: usize) i64 {
    memory.reset();
    const request = Request.decode(ptr[0..len]) orelse {
        log(.err, "the request cannot be read: the host is of another version");
        return -1;
    };
    var response = Response{};
    begun = false;
    guest.handle(&request, &response) catch {
        if (begun) {
            if (!failure.isGone()) log(.err, failure.message);
            return -1;
        }
        response = .problem(failure);
    };
    const out = if (begun) response.body else response.message();
    if (out.len == 0) return 0;
    return @as(i64, @intCast(@intFromPtr(out.bytes.ptr))) << 32 | @as(i64, @intCast(out.len));
}
