//! Memory of a call, bytes that grow in it, and bytes read within their bounds.
//! What must stay true stands in planck.zig.

const std = @import("std");

/// Of the call, and of the piece of its work that is at hand.
var arenas: [2]std.heap.ArenaAllocator = @splat(.init(std.heap.wasm_allocator));
var arena: usize = 0;

/// Everything of the call before is given up.
pub fn reset() void {
    for (&arenas) |*each| _ = each.reset(.retain_capacity);
    arena = 0;
}

/// Work that goes on piece by piece begins the next one: what was taken since the last one
/// began is given back. It may not be used any more, nor may a buffer that grew since.
pub fn nextPiece() void {
    arena = 1;
    _ = arenas[1].reset(.retain_capacity);
}

/// Memory of this call. The host knows that it was refused, and says so.
pub fn take(len: usize) []u8 {
    return arenas[arena].allocator().alloc(u8, len) catch @trap();
}

/// Bytes that grow, in the arena.
pub const Buffer = struct {
    bytes: []u8 = &.{},
    len: usize = 0,

    pub fn all(self: *const Buffer) []const u8 {
        return self.bytes[0..self.len];
    }

    fn room(self: *Buffer, len: usize) []u8 {
        const end = self.len + len;
        if (end > self.bytes.len) {
            const larger = take(@max(64, end, 2 * self.bytes.len));
            @memcpy(larger[0..self.len], self.all());
            self.bytes = larger;
        }
        defer self.len = end;
        return self.bytes[self.len..end];
    }

    pub fn put(self: *Buffer, text: []const u8) void {
        @memcpy(self.room(text.len), text);
    }

    pub fn putByte(self: *Buffer, byte: u8) void {
        self.room(1)[0] = byte;
    }

    /// Little-endian.
    pub fn putInt(self: *Buffer, comptime T: type, value: T) void {
        std.mem.writeInt(T, self.room(@sizeOf(T))[0..@sizeOf(T)], value, .little);
    }

    pub fn putNumber(self: *Buffer, value: i64) void {
        var digits: [20]u8 = undefined;
        var at: usize = digits.len;
        var rest: u64 = @abs(value);
        while (true) {
            at -= 1;
            digits[at] = @intCast('0' + rest % 10);
            rest /= 10;
            if (rest == 0) break;
        }
        if (value < 0) self.putByte('-');
        self.put(digits[at..]);
    }

    /// As lower case digits of base 16.
    pub fn putHex(self: *Buffer, bytes: []const u8) void {
        const digits = "0123456789abcdef";
        for (bytes) |byte| {
            self.putByte(digits[byte >> 4]);
            self.putByte(digits[byte & 15]);
        }
    }

    /// A JSON string, its quotes too.
    pub fn putJson(self: *Buffer, text: []const u8) void {
        self.putByte('"');
        for (text) |byte| {
            if (byte < 0x20) {
                self.put("\\u00");
                self.putHex(&.{byte});
                continue;
            }
            if (byte == '"' or byte == '\\') self.putByte('\\');
            self.putByte(byte);
        }
        self.putByte('"');
    }

    pub fn putText16(self: *Buffer, text: []const u8) void {
        self.putInt(u16, @intCast(text.len));
        self.put(text);
    }
};

/// Reads within bounds; null where there are not enough bytes.
pub const Reader = struct {
    rest: []const u8,

    pub fn bytes(self: *Reader, len: usize) ?[]const u8 {
        if (len > self.rest.len) return null;
        defer self.rest = self.rest[len..];
        return self.rest[0..len];
    }

    pub fn int(self: *Reader, comptime T: type) ?T {
        const taken = self.bytes(@sizeOf(T)) orelse return null;
        return std.mem.readInt(T, taken[0..@sizeOf(T)], .little);
    }

    pub fn text16(self: *Reader) ?[]const u8 {
        return self.bytes(self.int(u16) orelse return null);
    }

    pub fn untilNul(self: *Reader) ?[]const u8 {
        for (self.rest, 0..) |byte, len| {
            if (byte == 0) {
                defer self.rest = self.rest[len + 1 ..];
                return self.rest[0..len];
            }
        }
        return null;
    }
};
