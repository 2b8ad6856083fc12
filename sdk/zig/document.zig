//! Documents: BSON, written field by field and read in place.
//! What must stay true stands in planck.zig.

const std = @import("std");
const Buffer = @import("bytes.zig").Buffer;
const Reader = @import("bytes.zig").Reader;

/// A document being written: `Doc.begin()`, fields, `finish()`. A name must hold no NUL.
pub const Doc = struct {
    out: Buffer,

    pub fn begin() Doc {
        var doc = Doc{ .out = .{} };
        doc.out.putInt(u32, 0);
        return doc;
    }

    fn field(self: *Doc, kind: u8, name: []const u8) void {
        self.out.putByte(kind);
        self.out.put(name);
        self.out.putByte(0);
    }

    pub fn text(self: *Doc, name: []const u8, value: []const u8) void {
        self.field(2, name);
        self.out.putInt(u32, @intCast(value.len + 1));
        self.out.put(value);
        self.out.putByte(0);
    }

    pub fn int(self: *Doc, name: []const u8, value: i64) void {
        self.field(18, name);
        self.out.putInt(i64, value);
    }

    /// Milliseconds since 1970.
    pub fn date(self: *Doc, name: []const u8, millis: i64) void {
        self.field(9, name);
        self.out.putInt(i64, millis);
    }

    pub fn double(self: *Doc, name: []const u8, value: f64) void {
        self.field(1, name);
        self.out.putInt(u64, @bitCast(value));
    }

    pub fn boolean(self: *Doc, name: []const u8, value: bool) void {
        self.field(8, name);
        self.out.putByte(@intFromBool(value));
    }

    pub fn finish(self: *Doc) []const u8 {
        self.out.putByte(0);
        std.mem.writeInt(u32, self.out.bytes[0..4], @intCast(self.out.len), .little);
        return self.out.all();
    }
};

/// A field of a document.
pub const Value = union(enum) {
    text: []const u8,
    int: i64,
    double: f64,
    boolean: bool,
    /// Milliseconds since 1970.
    date: i64,
    /// Any other: BSON's type and bytes.
    other: struct { kind: u8, bytes: []const u8 },

    fn read(in: *Reader, kind: u8) ?Value {
        var ahead = in.*;
        switch (kind) {
            1 => return .{ .double = @bitCast(in.int(u64) orelse return null) },
            2 => {
                const len = in.int(u32) orelse return null;
                const bytes = in.bytes(len) orelse return null;
                return if (len == 0) null else .{ .text = bytes[0 .. len - 1] };
            },
            8 => return .{ .boolean = (in.int(u8) orelse return null) != 0 },
            9 => return .{ .date = in.int(i64) orelse return null },
            16 => return .{ .int = in.int(i32) orelse return null },
            18 => return .{ .int = in.int(i64) orelse return null },
            else => {},
        }
        const len: usize = switch (kind) {
            6, 10, 0x7f, 0xff => 0,
            17 => 8,
            7 => 12,
            19 => 16,
            3, 4 => ahead.int(u32) orelse return null,
            5 => 5 +| @as(usize, ahead.int(u32) orelse return null),
            11 => len: {
                _ = ahead.untilNul() orelse return null;
                _ = ahead.untilNul() orelse return null;
                break :len in.rest.len - ahead.rest.len;
            },
            else => return null, // unknown: nothing behind it can be read
        };
        return .{ .other = .{ .kind = kind, .bytes = in.bytes(len) orelse return null } };
    }
};

/// A field at the top of a document.
pub fn field(doc: []const u8, name: []const u8) ?Value {
    var in = Reader{ .rest = doc };
    _ = in.int(u32);
    while (true) {
        const kind = in.int(u8) orelse return null;
        if (kind == 0) return null;
        const found = in.untilNul() orelse return null;
        const value = Value.read(&in, kind) orelse return null;
        if (std.mem.eql(u8, found, name)) return value;
    }
}

/// The text of a field; empty if there is none.
pub fn textOf(doc: []const u8, name: []const u8) []const u8 {
    const value = field(doc, name) orelse return "";
    return if (value == .text) value.text else "";
}

/// The number of a field, or the milliseconds of a date; 0 if there is none.
pub fn intOf(doc: []const u8, name: []const u8) i64 {
    return switch (field(doc, name) orelse return 0) {
        .int, .date => |number| number,
        else => 0,
    };
}

/// The number of a double; 0 if there is none.
pub fn doubleOf(doc: []const u8, name: []const u8) f64 {
    const value = field(doc, name) orelse return 0;
    return if (value == .double) value.double else 0;
}

/// Whether a field is a bool, and true.
pub fn boolOf(doc: []const u8, name: []const u8) bool {
    const value = field(doc, name) orelse return false;
    return value == .boolean and value.boolean;
}
