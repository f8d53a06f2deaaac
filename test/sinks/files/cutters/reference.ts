/**
 * What the cutters should find, told from the whole stream at once: where each record begins whose
 * header is whole and good, and where the stream is damaged.
 */
export interface Reference {
  /** Starts of records at which a file may begin. */
  starts: number[];
  /** Start of the record that does not parse. */
  damage: number | undefined;
}

export function referencePcap(stream: Buffer): Reference {
  const starts: number[] = [];
  if (stream.length < 24) return { starts, damage: undefined };
  const big = [0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34].includes(stream.readUInt32BE(0));
  const magic = big ? stream.readUInt32BE(0) : stream.readUInt32LE(0);
  const major = big ? stream.readUInt16BE(4) : stream.readUInt16LE(4);
  const minor = big ? stream.readUInt16BE(6) : stream.readUInt16LE(6);
  if (![0xa1b2c3d4, 0xa1b23c4d, 0xa1b2cd34].includes(magic) || major !== 2 || minor !== 4) {
    return { starts, damage: 0 };
  }
  starts.push(0);
  const header = magic === 0xa1b2cd34 ? 24 : 16;
  for (let at = 24; ; ) {
    if (at + header > stream.length) return { starts, damage: undefined };
    const caplen = big ? stream.readUInt32BE(at + 8) : stream.readUInt32LE(at + 8);
    if (caplen > 262144) return { starts, damage: at };
    if (at > 24) starts.push(at);
    at += header + caplen;
    if (at > stream.length) return { starts, damage: undefined };
  }
}

export function referencePcapng(stream: Buffer): Reference {
  const starts: number[] = [];
  let big = false;
  let interfaces = 0;
  const u32 = (at: number) => (big ? stream.readUInt32BE(at) : stream.readUInt32LE(at));
  const u16 = (at: number) => (big ? stream.readUInt16BE(at) : stream.readUInt16LE(at));
  for (let at = 0; ; ) {
    if (at + 8 > stream.length) return { starts, damage: undefined };
    const damaged = { starts, damage: at };
    const type = u32(at);
    const isSection = type === 0x0a0d0d0a;
    const seen: Record<number, number> = { 168627466: 16, 2: 28, 3: 12, 6: 28 };
    if (at + (seen[type] ?? 8) > stream.length) return { starts, damage: undefined };
    const before = { big, interfaces };
    if (isSection) big = stream.readUInt32LE(at + 8) !== 0x1a2b3c4d;
    const length = u32(at + 4);
    if (at === 0 && !isSection) return damaged;
    if (length < 12 || length % 4 !== 0 || length > 16 * 1024 * 1024) return damaged;
    if (isSection) {
      if (u32(at + 8) !== 0x1a2b3c4d || u16(at + 12) !== 1) return damaged;
      if (![0, 2].includes(u16(at + 14)) || length < 28) return damaged;
    }
    if (type === 1 && length < 20) return damaged;
    if (type === 3 && (length < 16 || interfaces === 0)) return damaged;
    if (type === 2 && (u16(at + 8) >= interfaces || u32(at + 20) + 32 > length)) return damaged;
    if (type === 6 && (u32(at + 8) >= interfaces || u32(at + 20) + 32 > length)) return damaged;
    if (at === 0 || before.interfaces > 0) starts.push(at);
    if (at + length > stream.length) return { starts, damage: undefined };
    if (u32(at + length - 4) !== length) return damaged;
    if (isSection) interfaces = 0;
    if (type === 1) interfaces += 1;
    at += length;
  }
}

export function referenceLines(stream: Buffer, max: number): Reference {
  const starts: number[] = [];
  for (let at = 0; ; ) {
    if (at === stream.length) return { starts, damage: undefined };
    const newline = stream.indexOf(10, at);
    const end = newline < 0 ? stream.length : newline + 1;
    starts.push(at);
    if (end - at > max) return { starts, damage: at };
    if (newline < 0) return { starts, damage: undefined };
    at = end;
  }
}

export function referenceIpfix(stream: Buffer): Reference {
  const starts: number[] = [];
  for (let at = 0; ; ) {
    if (at + 16 > stream.length) return { starts, damage: undefined };
    const length = stream.readUInt16BE(at + 2);
    if (stream.readUInt16BE(at) !== 10 || length < 16) return { starts, damage: at };
    starts.push(at);
    for (let set = at + 16; set < at + length; ) {
      if (at + length - set < 4) return { starts, damage: at };
      if (set + 4 > stream.length) return { starts, damage: undefined };
      const bytes = stream.readUInt16BE(set + 2);
      if (bytes < 4 || set + bytes > at + length) return { starts, damage: at };
      set += bytes;
      if (set > stream.length) return { starts, damage: undefined };
    }
    at += length;
  }
}
