/** Small streams of each kind, made from scratch. */

export function pcapHeader(big = false, magic = 0xa1b2c3d4, linkType = 1): Buffer {
  const header = Buffer.alloc(24);
  if (big) {
    header.writeUInt32BE(magic, 0);
    header.writeUInt16BE(2, 4);
    header.writeUInt16BE(4, 6);
    header.writeUInt32BE(65535, 16);
    header.writeUInt32BE(linkType, 20);
  } else {
    header.writeUInt32LE(magic, 0);
    header.writeUInt16LE(2, 4);
    header.writeUInt16LE(4, 6);
    header.writeUInt32LE(65535, 16);
    header.writeUInt32LE(linkType, 20);
  }
  return header;
}

export function pcapRecord(body: Uint8Array, big = false, headerBytes = 16): Buffer {
  const header = Buffer.alloc(headerBytes);
  const write = big ? header.writeUInt32BE.bind(header) : header.writeUInt32LE.bind(header);
  write(1_700_000_000, 0);
  write(123, 4);
  write(body.length, 8);
  write(body.length, 12);
  return Buffer.concat([header, body]);
}

/** A pcapng block of any type; the body is padded. */
export function block(type: number, body: Uint8Array, big = false): Buffer {
  const length = 12 + Math.ceil(body.length / 4) * 4;
  const bytes = Buffer.alloc(length);
  if (big) {
    bytes.writeUInt32BE(type, 0);
    bytes.writeUInt32BE(length, 4);
    bytes.writeUInt32BE(length, length - 4);
  } else {
    bytes.writeUInt32LE(type, 0);
    bytes.writeUInt32LE(length, 4);
    bytes.writeUInt32LE(length, length - 4);
  }
  bytes.set(body, 8);
  return bytes;
}

export function section(big = false): Buffer {
  const body = Buffer.alloc(16, 0xff);
  if (big) {
    body.writeUInt32BE(0x1a2b3c4d, 0);
    body.writeUInt16BE(1, 4);
    body.writeUInt16BE(0, 6);
  } else {
    body.writeUInt32LE(0x1a2b3c4d, 0);
    body.writeUInt16LE(1, 4);
    body.writeUInt16LE(0, 6);
  }
  body.fill(0, 8, 16); // a section length of 0: later pieces must not repeat it
  return block(0x0a0d0d0a, body, big);
}

export function interfaceBlock(big = false): Buffer {
  const body = Buffer.alloc(8);
  if (big) body.writeUInt16BE(1, 0);
  else body.writeUInt16LE(1, 0);
  return block(1, body, big);
}

export function packetBlock(body: Uint8Array, big = false, interfaceId = 0): Buffer {
  const head = Buffer.alloc(20);
  const write = big ? head.writeUInt32BE.bind(head) : head.writeUInt32LE.bind(head);
  write(interfaceId, 0);
  write(body.length, 12);
  write(body.length, 16);
  return block(6, Buffer.concat([head, body]), big);
}

export function ipfixMessage(domain: number, sequence: number, sets: readonly Buffer[]): Buffer {
  const body = Buffer.concat(sets);
  const header = Buffer.alloc(16);
  header.writeUInt16BE(10, 0);
  header.writeUInt16BE(16 + body.length, 2);
  header.writeUInt32BE(1_700_000_000 + sequence, 4);
  header.writeUInt32BE(sequence, 8);
  header.writeUInt32BE(domain, 12);
  return Buffer.concat([header, body]);
}

export function ipfixSet(id: number, body: Uint8Array): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE(4 + body.length, 2);
  return Buffer.concat([header, body]);
}

/** A template record; `fields` are lengths; with `scopes` it is an options template. */
export function template(id: number, fields: readonly number[], scopes?: number): Buffer {
  const words = [id, fields.length, ...(scopes === undefined ? [] : [scopes])];
  for (const [index, length] of fields.entries()) {
    // Every third field is an enterprise's own.
    if (index % 3 === 2) words.push(0x8000 | (index + 1), length, 0, 29305);
    else words.push(index + 1, length);
  }
  const bytes = Buffer.alloc(2 * words.length);
  for (const [index, word] of words.entries()) bytes.writeUInt16BE(word, 2 * index);
  return bytes;
}
