// Documents: BSON, written field by field and read in place.

import { Buffer, Reader, text } from "./host";

/** A document being written: fields, then `finish`. A name must hold no NUL. */
export class DocBuilder {
  private out: Buffer = new Buffer().putU32(0);

  private field(kind: i32, name: string): Buffer {
    return this.out.putByte(kind).putText(name).putByte(0);
  }

  /** A string, given as UTF-8. */
  text(name: string, value: Uint8Array): DocBuilder {
    this.field(2, name).putU32(value.length + 1).put(value).putByte(0);
    return this;
  }

  int(name: string, value: i64): DocBuilder {
    this.field(18, name).putI64(value);
    return this;
  }

  /** Milliseconds since 1970. */
  date(name: string, millis: i64): DocBuilder {
    this.field(9, name).putI64(millis);
    return this;
  }

  double(name: string, value: f64): DocBuilder {
    this.field(1, name).putF64(value);
    return this;
  }

  bool(name: string, value: bool): DocBuilder {
    this.field(8, name).putByte(value ? 1 : 0);
    return this;
  }

  finish(): Uint8Array {
    this.out.putByte(0);
    this.out.setU32(0, this.out.len);
    return this.out.all();
  }
}

/** A field: BSON's type (1 double, 2 string, 8 bool, 9 date, 16 int32, 18 int64), its bytes. */
export class Value {
  constructor(public kind: i32, public bytes: Uint8Array) {}
}

/** A document that was read. */
export class Doc {
  constructor(public bytes: Uint8Array) {}

  /** A field at its top. */
  field(name: string): Value | null {
    const reader = new Reader(this.bytes);
    reader.u32();
    while (true) {
      const kind = reader.u8();
      if (reader.bad || kind == 0) return null;
      const found = reader.untilNul();
      const value = reader.bytes(sizeOf(reader.rest, kind));
      if (reader.bad) return null;
      if (text(found) == name) return new Value(kind, value);
    }
  }

  /** The string of a field as UTF-8; empty if there is none. */
  text(name: string): Uint8Array {
    const value = this.field(name);
    if (!value || value.kind != 2 || value.bytes.length < 5) return new Uint8Array(0);
    return value.bytes.subarray(4, value.bytes.length - 1);
  }

  /** The number of a field, or the milliseconds of a date; 0 if there is none. */
  int(name: string): i64 {
    const value = this.field(name);
    if (!value) return 0;
    const reader = new Reader(value.bytes);
    if (value.kind == 16) return reader.u32();
    return value.kind == 18 || value.kind == 9 ? reader.i64() : 0;
  }

  /** The number of a double; 0 if there is none. */
  double(name: string): f64 {
    const value = this.field(name);
    return value && value.kind == 1 ? new Reader(value.bytes).f64() : 0;
  }

  /** Whether a field is a bool, and true. */
  bool(name: string): bool {
    const value = this.field(name);
    return value != null && value.kind == 8 && value.bytes[0] != 0;
  }
}

/** Bytes of a value of that type; -1 if they cannot be known. */
function sizeOf(rest: Uint8Array, kind: i32): i32 {
  const ahead = new Reader(rest);
  switch (kind) {
    case 6: case 10: case 0x7f: case 0xff: return 0;
    case 8: return 1;
    case 16: return 4;
    case 1: case 9: case 17: case 18: return 8;
    case 7: return 12;
    case 19: return 16;
    case 3: case 4: return ahead.u32();
    case 2: return more(ahead.u32(), 4);
    case 5: return more(ahead.u32(), 5);
    case 11:
      ahead.untilNul();
      ahead.untilNul();
      return ahead.bad ? -1 : rest.length - ahead.rest.length;
    default: return -1;
  }
}

function more(len: i32, by: i32): i32 {
  return len < 0 || len > i32.MAX_VALUE - by ? -1 : len + by;
}
