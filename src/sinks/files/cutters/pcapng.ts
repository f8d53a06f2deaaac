import { type Cutter, copyOf, EMPTY, u16, u32, Verdict } from './cutter.js';
import { GrowingBytes } from './growing.js';

/**
 * pcapng (draft-ietf-opsawg-pcapng): blocks, each in the byte order of its section.
 *
 *   0     4             8                       total−4
 *   │type │total length │ body, padded to 4 …   │total length │
 *
 * A section begins with its header block (SHB), which gives the byte order, and describes its
 * interfaces (IDB) before their packets. A file that goes on within a section therefore begins
 * with a copy of both. What is refused here is what libpcap and Wireshark can't read on from.
 */
const SECTION = 0x0a0d0d0a;
const INTERFACE = 1;
const PACKET = 2; // obsolete
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;

const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
const BLOCK_HEADER_BYTES = 8;
const TRAILER_BYTES = 4;
const BLOCK_BYTES_MIN = BLOCK_HEADER_BYTES + TRAILER_BYTES;
/** libpcap's limit (INITIAL_MAX_BLOCKSIZE). */
export const BLOCK_BYTES_MAX = 16 * 1024 * 1024;
/** Smallest blocks by type. */
const SECTION_BYTES_MIN = 28;
const INTERFACE_BYTES_MIN = 20;
const SIMPLE_PACKET_BYTES_MIN = 16;
const PACKET_BYTES_MIN = 32;
/** Where a section header says how long its section is; all ones: not known. */
const SECTION_LENGTH_AT = 16;
const SECTION_LENGTH_BYTES = 8;

/** A stream whose section and interface blocks come to more is cut no more in that section. */
export const SECTION_PREAMBLE_BYTES_MAX = 64 * 1024;

export class PcapngCutter implements Cutter {
  readonly ext = 'pcapng';
  position = 0;
  boundary = 0;
  verdict: Verdict = Verdict.MORE;
  #started = false;
  #littleEndian = true;
  /** Of the block under way: its type, its length, and the bytes before its trailer to come. */
  #type = 0;
  #length = 0;
  #left = 0;
  #inBlock = false;
  /** Interfaces of this section. */
  #interfaces = 0;
  /** The section header and interface blocks of this section, as they came. */
  readonly #section = new GrowingBytes(SECTION_PREAMBLE_BYTES_MAX);
  #sectionKept = true;
  /** Of them, those of whole blocks. */
  #wholeBytes = 0;
  /** The record at the last CUT begins a section of its own. */
  #nextIsSection = true;

  get cuttable(): boolean {
    return this.#interfaces > 0 && this.#sectionKept;
  }

  walk(bytes: Uint8Array, from: number, to: number, cutAt: number): number {
    const base = this.position - from;
    let at = from;
    this.verdict = Verdict.MORE;
    for (;;) {
      if (!this.#inBlock) {
        this.boundary = base + at;
        if (!this.#header(bytes, at, to, cutAt)) break;
      }
      const step = Math.min(this.#left, to - at);
      this.#keep(bytes, at, at + step);
      at += step;
      this.#left -= step;
      if (this.#left > 0 || to - at < TRAILER_BYTES) break;
      if (u32(bytes, at, this.#littleEndian) !== this.#length) {
        this.verdict = Verdict.DAMAGED;
        break;
      }
      this.#keep(bytes, at, at + TRAILER_BYTES);
      at += TRAILER_BYTES;
      this.#inBlock = false;
      if (this.#type === INTERFACE) this.#interfaces += 1;
      this.#wholeBytes = this.#section.length;
    }
    this.position = base + at;
    return at;
  }

  preamble(): Uint8Array {
    return this.#nextIsSection ? EMPTY : this.#preamble(this.#section.length);
  }

  resume(): Uint8Array | undefined {
    if (!this.#sectionKept) return undefined;
    return this.#wholeBytes === 0 ? EMPTY : this.#preamble(this.#wholeBytes);
  }

  #preamble(length: number): Uint8Array {
    const preamble = copyOf(this.#section.view(), 0, length);
    preamble.fill(0xff, SECTION_LENGTH_AT, SECTION_LENGTH_AT + SECTION_LENGTH_BYTES);
    return preamble;
  }

  /** Begins the block at `at`; false where it is not whole, not good, or begins a new file. */
  #header(bytes: Uint8Array, at: number, to: number, cutAt: number): boolean {
    if (to - at < BLOCK_HEADER_BYTES) return false;
    let littleEndian = this.#littleEndian;
    const type = u32(bytes, at, littleEndian);
    const isSection = type === SECTION; // the same in both byte orders
    if (to - at < headerBytes(type)) return false;
    if (isSection) littleEndian = u32(bytes, at + 8, true) === BYTE_ORDER_MAGIC;
    const length = u32(bytes, at + 4, littleEndian);
    if (!this.#isGood(bytes, at, type, length, littleEndian)) {
      this.verdict = Verdict.DAMAGED;
      return false;
    }
    if (this.boundary >= cutAt && (this.cuttable || !this.#started)) {
      this.verdict = Verdict.CUT;
      this.#nextIsSection = isSection;
      return false;
    }
    if (isSection) {
      this.#started = true;
      this.#littleEndian = littleEndian;
      this.#interfaces = 0;
      this.#section.truncate(0);
      this.#wholeBytes = 0; // who goes on here begins with this section
      this.#sectionKept = true;
    }
    this.#type = type;
    this.#length = length;
    this.#left = length - TRAILER_BYTES;
    this.#inBlock = true;
    return true;
  }

  #isGood(bytes: Uint8Array, at: number, type: number, length: number, little: boolean): boolean {
    if (!this.#started && type !== SECTION) return false;
    if (length < BLOCK_BYTES_MIN || length > BLOCK_BYTES_MAX || length % 4 !== 0) return false;
    switch (type) {
      case SECTION: {
        const minor = u16(bytes, at + 14, little);
        return (
          length >= SECTION_BYTES_MIN &&
          u32(bytes, at + 8, little) === BYTE_ORDER_MAGIC &&
          u16(bytes, at + 12, little) === 1 &&
          (minor === 0 || minor === 2) // 1.2 is read as 1.0
        );
      }
      case INTERFACE:
        return length >= INTERFACE_BYTES_MIN;
      case SIMPLE_PACKET:
        return length >= SIMPLE_PACKET_BYTES_MIN && this.#interfaces > 0;
      case PACKET:
        return this.#isPacket(u16(bytes, at + 8, little), u32(bytes, at + 20, little), length);
      case ENHANCED_PACKET:
        return this.#isPacket(u32(bytes, at + 8, little), u32(bytes, at + 20, little), length);
      default:
        return true;
    }
  }

  #isPacket(interfaceId: number, caplen: number, length: number): boolean {
    return interfaceId < this.#interfaces && PACKET_BYTES_MIN + caplen <= length;
  }

  #keep(bytes: Uint8Array, from: number, to: number): void {
    if (this.#type !== SECTION && this.#type !== INTERFACE) return;
    if (!this.#sectionKept || this.#section.append(bytes, from, to)) return;
    this.#sectionKept = false;
    this.#section.truncate(0);
  }
}

/** Bytes of a block that must be seen before it can be said to be good. */
function headerBytes(type: number): number {
  if (type === SECTION) return 16;
  if (type === SIMPLE_PACKET) return 12;
  return type === PACKET || type === ENHANCED_PACKET ? 28 : BLOCK_HEADER_BYTES;
}
