// The imports of the guest ABI (docs/abi.md), and bytes.
//
// What must stay true: the host is given the address and length of memory that somebody
// refers to until the call is over; AssemblyScript's collector moves nothing.

@external("planck", "host_request")
declare function host_request(packet: usize, len: i32, out: usize, cap: i32): i64;
@external("planck", "host_read")
declare function host_read(offset: i32, out: usize, len: i32): i64;
@external("planck", "host_call_service")
declare function host_call_service(
  name: usize, nameLen: i32, packet: usize, len: i32, out: usize, cap: i32): i64;
@external("planck", "host_log")
declare function host_log(level: i32, line: usize, len: i32): void;
@external("planck", "host_now")
declare function host_now(): i64;
@external("planck", "host_random")
declare function host_random(out: usize, len: i32): void;
@external("planck", "host_write")
declare function host_write(piece: usize, len: i32): i64;

/** Text as bytes. */
export function utf8(text: string): Uint8Array {
  return Uint8Array.wrap(String.UTF8.encode(text));
}

/** Bytes as text. */
export function text(bytes: Uint8Array): string {
  return String.UTF8.decodeUnsafe(bytes.dataStart, bytes.length);
}

const NO_BYTES = new Uint8Array(0);

/** Bytes that grow. */
export class Buffer {
  private bytes: Uint8Array = NO_BYTES;
  private length: i32 = 0;

  private room(len: i32): usize {
    const end = this.length + len;
    if (end > this.bytes.length) {
      const larger = new Uint8Array(max(64, max(end, 2 * this.bytes.length)));
      memory.copy(larger.dataStart, this.bytes.dataStart, this.length);
      this.bytes = larger;
    }
    const at = this.bytes.dataStart + this.length;
    this.length = end;
    return at;
  }

  put(bytes: Uint8Array): Buffer {
    memory.copy(this.room(bytes.length), bytes.dataStart, bytes.length);
    return this;
  }

  putText(text: string): Buffer {
    return this.put(utf8(text));
  }

  putByte(byte: i32): Buffer {
    store<u8>(this.room(1), byte);
    return this;
  }

  putU16(value: i32): Buffer {
    store<u16>(this.room(2), value);
    return this;
  }

  putU32(value: i32): Buffer {
    store<u32>(this.room(4), value);
    return this;
  }

  putI64(value: i64): Buffer {
    store<i64>(this.room(8), value);
    return this;
  }

  putF64(value: f64): Buffer {
    store<f64>(this.room(8), value);
    return this;
  }

  putText16(text: string): Buffer {
    const bytes = utf8(text);
    return this.putU16(bytes.length).put(bytes);
  }

  /** As lower case digits of base 16. */
  putHex(bytes: Uint8Array): Buffer {
    for (let i = 0; i < bytes.length; i++) this.putDigit(bytes[i] >> 4).putDigit(bytes[i] & 15);
    return this;
  }

  private putDigit(digit: i32): Buffer {
    return this.putByte(digit < 10 ? 48 + digit : 87 + digit);
  }

  /** A JSON string, its quotes too. */
  putJson(bytes: Uint8Array): Buffer {
    this.putByte(34);
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i];
      if (byte < 0x20) {
        this.putText("\\u00").putDigit(byte >> 4).putDigit(byte & 15);
        continue;
      }
      if (byte == 34 || byte == 92) this.putByte(92);
      this.putByte(byte);
    }
    return this.putByte(34);
  }

  /** Writes over four bytes that are there. */
  setU32(at: i32, value: i32): void {
    store<u32>(this.bytes.dataStart + at, value);
  }

  all(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  get len(): i32 {
    return this.length;
  }
}

/** Reads within bounds; what is not there is empty, or 0, and `bad` is set. */
export class Reader {
  bad: bool = false;

  constructor(public rest: Uint8Array) {}

  bytes(len: i32): Uint8Array {
    if (this.bad || len < 0 || len > this.rest.length) {
      this.bad = true;
      return NO_BYTES;
    }
    const taken = this.rest.subarray(0, len);
    this.rest = this.rest.subarray(len);
    return taken;
  }

  u8(): i32 {
    const at = this.bytes(1);
    return this.bad ? 0 : load<u8>(at.dataStart);
  }

  u16(): i32 {
    const at = this.bytes(2);
    return this.bad ? 0 : load<u16>(at.dataStart);
  }

  u32(): i32 {
    const at = this.bytes(4);
    return this.bad ? 0 : load<u32>(at.dataStart);
  }

  i64(): i64 {
    const at = this.bytes(8);
    return this.bad ? 0 : load<i64>(at.dataStart);
  }

  f64(): f64 {
    return reinterpret<f64>(this.i64());
  }

  text16(): Uint8Array {
    return this.bytes(this.u16());
  }

  untilNul(): Uint8Array {
    const taken = this.bytes(this.rest.indexOf(0));
    this.bytes(1);
    return taken;
  }
}

/** What the host answered: read again whole if it did not fit; never asked for twice. */
function whole(out: Uint8Array, total: i64): Uint8Array {
  if (total <= out.length) return out.subarray(0, <i32>total);
  const more = new Uint8Array(<i32>total);
  host_read(0, more.dataStart, more.length);
  return more;
}

/** Runs a packet on the service's data; the reply packet. */
export function request(packet: Uint8Array): Uint8Array {
  const out = new Uint8Array(4096);
  return whole(out, host_request(packet.dataStart, packet.length, out.dataStart, out.length));
}

/** Sends a packet to an upstream service; the reply packet. */
export function requestService(name: string, packet: Uint8Array): Uint8Array {
  const out = new Uint8Array(4096);
  const who = utf8(name);
  return whole(out, host_call_service(
    who.dataStart, who.length, packet.dataStart, packet.length, out.dataStart, out.length));
}

export enum Level { Error, Warn, Info, Debug }

/** Writes a line to the service's log. */
export function log(level: Level, line: string): void {
  const bytes = utf8(line);
  host_log(level, bytes.dataStart, bytes.length);
}

/** Gives the next bytes of the response; 0, or the status that says why nobody takes them. */
export function send(bytes: Uint8Array): i32 {
  const written = host_write(bytes.dataStart, bytes.length);
  return written < 0 ? <i32>-written : 0;
}

/** Microseconds since 1970. */
export function now(): i64 {
  return host_now();
}

/** So many random bytes, at most 65,536. */
export function random(len: i32): Uint8Array {
  const out = new Uint8Array(len);
  host_random(out.dataStart, len);
  return out;
}
