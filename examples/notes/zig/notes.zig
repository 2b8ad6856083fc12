//! The notes of README.md, in Zig.

const std = @import("std");
const planck = @import("planck");

comptime {
    _ = planck; // for what it exports
}

pub fn start() planck.Failed!void {
    try planck.createStore("notes");
}

/// The parameter of that name, if there is one: 1 to 32 of a to z, 0 to 9 and _.
fn nameOf(request: *const planck.Request, which: []const u8) planck.Failed!?[]const u8 {
    const name = request.parameter(which) orelse return null;
    for (name) |c| switch (c) {
        '_', 'a'...'z', '0'...'9' => {},
        else => return badName(),
    };
    return if (name.len >= 1 and name.len <= 32) name else badName();
}

fn badName() planck.Failed {
    return planck.refuse(400, "a name is 1 to 32 of a to z, 0 to 9 and _");
}

fn putNote(out: *planck.Buffer, key: planck.Key, doc: []const u8) void {
    out.put("{\"key\":\"");
    out.putHex(&key);
    out.put("\",\"by\":");
    out.putJson(planck.textOf(doc, "by"));
    out.put(",\"text\":");
    out.putJson(planck.textOf(doc, "text"));
    out.put(",\"at\":");
    out.putNumber(planck.intOf(doc, "at"));
    out.put(",\"tag\":");
    out.putJson(planck.textOf(doc, "tag"));
    out.put(if (planck.boolOf(doc, "pinned")) ",\"pinned\":true" else ",\"pinned\":false");
    out.put(",\"seconds\":");
    out.putNumber(@intFromFloat(60 * planck.doubleOf(doc, "minutes")));
    out.put("}");
}

fn json(response: *planck.Response) void {
    response.addHeader("content-type", "application/json");
}

fn add(request: *const planck.Request, response: *planck.Response) planck.Failed!void {
    const by = try nameOf(request, "by") orelse return planck.refuse(400, "say who you are: ?by=NAME");
    if (request.body.len < 1 or request.body.len > 1000)
        return planck.refuse(400, "a note has 1 to 1000 bytes of text");

    var random: [4]u8 = undefined;
    planck.random(&random);
    var tag = planck.Buffer{};
    tag.putHex(&random);
    var doc = planck.Doc.begin();
    doc.text("by", by);
    doc.text("text", request.body);
    doc.date("at", @divTrunc(planck.now(), 1000));
    doc.text("tag", tag.all());
    doc.boolean("pinned", std.mem.eql(u8, request.header("x-pinned") orelse "", "yes"));
    doc.double("minutes", @as(f64, @floatFromInt(request.body.len)) / 1000);
    const key = try planck.insert("notes", doc.finish());

    var line = planck.Buffer{};
    line.put("a note by ");
    line.put(by);
    planck.log(.info, line.all());
    var place = planck.Buffer{};
    place.put("/notes/");
    place.putHex(&key);
    response.status = 201;
    json(response);
    response.addHeader("location", place.all());
    response.body.put("{\"key\":\"");
    response.body.putHex(&key);
    response.body.put("\"}");
}

/// 1 to 100, or null if it is none of these.
fn limitOf(digits: []const u8) ?i64 {
    if (digits.len > 3) return null;
    var limit: i64 = 0;
    for (digits) |digit| switch (digit) {
        '0'...'9' => limit = 10 * limit + (digit - '0'),
        else => return null,
    };
    return if (limit >= 1 and limit <= 100) limit else null;
}

fn list(request: *const planck.Request, response: *planck.Response) planck.Failed!void {
    const by = try nameOf(request, "by");
    const limit = limitOf(request.parameter("limit") orelse "20") orelse
        return planck.refuse(400, "limit is a number from 1 to 100");

    var parameters = planck.Doc.begin();
    parameters.int("1", limit);
    var query: []const u8 = "notes.orderBy(at desc).limit($1)";
    if (by) |name| {
        query = "notes.filter(by = $2).orderBy(at desc).limit($1)";
        parameters.text("2", name);
    }
    var rows = try planck.query(query, parameters.finish());

    json(response);
    response.body.put("{\"notes\":[");
    var first = true;
    while (rows.next()) |row| {
        if (!first) response.body.put(",");
        first = false;
        putNote(&response.body, row.key orelse @splat(0), row.doc);
    }
    response.body.put("]}");
}

/// All notes, the oldest first, a line each. They leave a page at a time; so a failure has a
/// status of its own as long as nothing has left.
fn lines(request: *const planck.Request, response: *planck.Response) planck.Failed!void {
    const by = try nameOf(request, "by");
    response.addHeader("content-type", "application/x-ndjson");
    var last: planck.Key = @splat(0);
    var begun = false;
    while (true) : (begun = true) {
        planck.nextPiece();
        var after = planck.Buffer{};
        after.putHex(&last);
        var parameters = planck.Doc.begin();
        parameters.text("1", after.all());
        var query: []const u8 = "notes.filter(key > $1).limit(100)";
        if (by) |name| {
            query = "notes.filter(key > $1 and by = $2).limit(100)";
            parameters.text("2", name);
        }
        var rows = try planck.query(query, parameters.finish());
        if (!begun) try response.begin();

        var piece = planck.Buffer{};
        var count: usize = 0;
        while (rows.next()) |row| : (count += 1) {
            last = row.key orelse last;
            putNote(&piece, last, row.doc);
            piece.put("\n");
        }
        if (count > 0) try planck.write(piece.all());
        if (count < 100) return;
    }
}

fn show(key: planck.Key, response: *planck.Response) planck.Failed!void {
    const doc = try planck.read("notes", key);
    json(response);
    putNote(&response.body, key, doc);
}

fn send(key: planck.Key, request: *const planck.Request, response: *planck.Response) planck.Failed!void {
    const to = try nameOf(request, "to") orelse return planck.refuse(400, "say where to: ?to=SERVICE");
    const doc = try planck.read("notes", key);
    const packet = planck.Request.packet("POST", "/", planck.textOf(doc, "text"));
    _ = try planck.callService(to, packet);
    response.status = 202;
}

pub fn handle(request: *const planck.Request, response: *planck.Response) planck.Failed!void {
    const path = request.path;
    const get = std.mem.eql(u8, request.method, "GET");
    const post = std.mem.eql(u8, request.method, "POST");
    if (std.mem.eql(u8, path, "/notes")) {
        if (get) return list(request, response);
        if (post) return add(request, response);
    }
    if (get and std.mem.eql(u8, path, "/notes/lines")) return lines(request, response);
    const prefix = "/notes/";
    if (std.mem.startsWith(u8, path, prefix) and path.len >= prefix.len + 32) {
        const rest = path[prefix.len + 32 ..];
        if (planck.parseKey(path[prefix.len..][0..32])) |key| {
            if (get and rest.len == 0) return show(key, response);
            if (post and std.mem.eql(u8, rest, "/send")) return send(key, request, response);
        }
    }
    return planck.refuse(404, "there is no such page");
}
