/** Bytes that a new connection may have to begin with; a stream that needs more is taken as raw. */
const PRELUDE_BYTES_MAX = 256 * 1024;

/** A stream of length-prefixed records, some of which explain the others. */
export interface RecordFormat {
  /** Bytes at the next record's start that tell its length. */
  readonly headBytes: number;
  /** Length of the record with this head, head included; undefined where it is none. */
  lengthOf(head: Buffer): number | undefined;
  /** Whether a record that begins so explains those that follow. */
  keeps(head: Buffer): boolean;
  /** Adds a whole record that `keeps` chose to the prelude; false when that would grow too long. */
  keep(record: Buffer): boolean;
  /** What the records to come need before them. Only ever appended to, or replaced. */
  readonly prelude: readonly Buffer[];
}

/** Blocks up to a limit in bytes. */
class Prelude {
  readonly blocks: Buffer[] = [];
  #bytes = 0;

  add(block: Buffer): boolean {
    this.#bytes += block.length;
    if (this.#bytes > PRELUDE_BYTES_MAX) return false;
    this.blocks.push(block);
    return true;
  }
}

/**
 * libpcap 2.4: a 24-byte file header, then for each packet 16 bytes (seconds, fraction, captured
 * length, original length) and the captured bytes. The magic number tells byte order and fraction.
 */
export class PcapFormat implements RecordFormat {
  static readonly #FILE_HEADER_BYTES = 24;
  static readonly #RECORD_HEADER_BYTES = 16;
  /** Kuznetzov's variant, which libpcap reads, has three more words. */
  static readonly #PATCHED_RECORD_HEADER_BYTES = 24;
  static readonly #OFFSET_CAPTURED = 8;
  static readonly #MAGIC_PATCHED = 0xa1b2cd34;
  /** Microseconds, nanoseconds, and Kuznetzov's. */
  static readonly #MAGICS: readonly number[] = [0xa1b2c3d4, 0xa1b23c4d, this.#MAGIC_PATCHED];

  readonly #prelude = new Prelude();
  #little = true;
  #recordHeaderBytes = PcapFormat.#RECORD_HEADER_BYTES;

  static begins(bytes: Buffer): boolean {
    const magics = PcapFormat.#MAGICS;
    return magics.includes(bytes.readUInt32LE(0)) || magics.includes(bytes.readUInt32BE(0));
  }

  get prelude(): readonly Buffer[] {
    return this.#prelude.blocks;
  }

  get headBytes(): number {
    return this.#isFileHeader ? PcapFormat.#FILE_HEADER_BYTES : this.#recordHeaderBytes;
  }

  get #isFileHeader(): boolean {
    return this.#prelude.blocks.length === 0;
  }

  lengthOf(head: Buffer): number {
    if (this.#isFileHeader) return PcapFormat.#FILE_HEADER_BYTES;
    const at = PcapFormat.#OFFSET_CAPTURED;
    const captured = this.#little ? head.readUInt32LE(at) : head.readUInt32BE(at);
    return this.#recordHeaderBytes + captured;
  }

  keeps(): boolean {
    return this.#isFileHeader;
  }

  keep(header: Buffer): boolean {
    this.#little = PcapFormat.#MAGICS.includes(header.readUInt32LE(0));
    const magic = this.#little ? header.readUInt32LE(0) : header.readUInt32BE(0);
    if (magic === PcapFormat.#MAGIC_PATCHED) {
      this.#recordHeaderBytes = PcapFormat.#PATCHED_RECORD_HEADER_BYTES;
    }
    return this.#prelude.add(header);
  }
}

/**
 * pcapng: blocks of (type, total length, body, total length again), a multiple of four bytes. A
 * section header (SHB) begins a section and tells its byte order; interface blocks (IDB) are
 * numbered within it.
 */
export class PcapngFormat implements RecordFormat {
  static readonly #SECTION_HEADER = 0x0a0d0d0a;
  static readonly #INTERFACE = 1;
  static readonly #BYTE_ORDER_MAGIC = 0x1a2b3c4d;
  static readonly #BLOCK_BYTES_MIN = 12;
  static readonly #SECTION_BYTES_MIN = 28;

  readonly headBytes = 12;
  #prelude = new Prelude();
  #little = true;

  static begins(bytes: Buffer): boolean {
    return bytes.readUInt32BE(0) === PcapngFormat.#SECTION_HEADER;
  }

  get prelude(): readonly Buffer[] {
    return this.#prelude.blocks;
  }

  lengthOf(head: Buffer): number | undefined {
    let lengthMin = PcapngFormat.#BLOCK_BYTES_MIN;
    if (this.#isSection(head)) {
      this.#little = head.readUInt32LE(8) === PcapngFormat.#BYTE_ORDER_MAGIC;
      if (!this.#little && head.readUInt32BE(8) !== PcapngFormat.#BYTE_ORDER_MAGIC)
        return undefined;
      lengthMin = PcapngFormat.#SECTION_BYTES_MIN;
    }
    const length = this.#uint32(head, 4);
    return length >= lengthMin && length % 4 === 0 ? length : undefined;
  }

  keeps(head: Buffer): boolean {
    return this.#isSection(head) || this.#uint32(head, 0) === PcapngFormat.#INTERFACE;
  }

  keep(block: Buffer): boolean {
    if (this.#isSection(block)) {
      this.#prelude = new Prelude();
      block = withoutSectionLength(block, this.#little);
    }
    return this.#prelude.add(block);
  }

  /** The type of a section header reads the same in both byte orders. */
  #isSection(block: Buffer): boolean {
    return PcapngFormat.begins(block);
  }

  #uint32(bytes: Buffer, offset: number): number {
    return this.#little ? bytes.readUInt32LE(offset) : bytes.readUInt32BE(offset);
  }
}

/** A section that goes on elsewhere no longer has the length it was written with: -1, unknown. */
function withoutSectionLength(block: Buffer, little: boolean): Buffer {
  const copy = Buffer.from(block);
  const offset = 16;
  if (little) copy.writeBigInt64LE(-1n, offset);
  else copy.writeBigInt64BE(-1n, offset);
  return copy;
}

/**
 * IPFIX (RFC 7011, section 3): messages of a 16-byte header (version 10, length, ...) and sets of
 * (id, length, ...), big-endian. Sets 2 and 3 hold the templates that explain all later data, so
 * they are sent again, in messages of their own.
 */
export class IpfixFormat implements RecordFormat {
  static readonly #VERSION = 10;
  static readonly #MESSAGE_HEADER_BYTES = 16;
  static readonly #SET_HEADER_BYTES = 4;
  static readonly #TEMPLATE_SETS: readonly number[] = [2, 3];

  readonly headBytes = 16;
  readonly #prelude = new Prelude();

  get prelude(): readonly Buffer[] {
    return this.#prelude.blocks;
  }

  lengthOf(head: Buffer): number | undefined {
    if (head.readUInt16BE(0) !== IpfixFormat.#VERSION) return undefined;
    const length = head.readUInt16BE(2);
    return length >= IpfixFormat.#MESSAGE_HEADER_BYTES ? length : undefined;
  }

  keeps(): boolean {
    return true;
  }

  keep(message: Buffer): boolean {
    const sets: Buffer[] = [];
    let offset = IpfixFormat.#MESSAGE_HEADER_BYTES;
    while (offset + IpfixFormat.#SET_HEADER_BYTES <= message.length) {
      const id = message.readUInt16BE(offset);
      const length = message.readUInt16BE(offset + 2);
      if (length < IpfixFormat.#SET_HEADER_BYTES || offset + length > message.length) break;
      if (IpfixFormat.#TEMPLATE_SETS.includes(id)) {
        sets.push(message.subarray(offset, offset + length));
      }
      offset += length;
    }
    if (sets.length === 0) return true;
    // Exporters repeat their templates: what is known already is not kept twice.
    const known = this.#prelude.blocks.some((block) =>
      Buffer.concat(sets).equals(block.subarray(this.headBytes)),
    );
    if (known) return true;
    const templates = Buffer.concat([message.subarray(0, this.headBytes), ...sets]);
    templates.writeUInt16BE(templates.length, 2);
    return this.#prelude.add(templates);
  }
}
