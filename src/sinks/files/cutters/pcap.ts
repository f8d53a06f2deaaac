import { type Cutter, copyOf, EMPTY, u16, u32, Verdict } from './cutter.js';

/**
 * libpcap 2.4: a file header, then records.
 *
 *   0      4      6      8         12        16       20          24
 *   │magic │major │minor │thiszone │sigfigs  │snaplen │link type  │
 *
 *   0        4          8        12        16
 *   │seconds │fraction  │caplen  │len      │ caplen bytes
 *
 * The byte order of all is that of the magic number.
 */
const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
/** Kuznetzov's variant (a1b2cd34) has three more words in each record header; libpcap reads it. */
const PATCHED_RECORD_HEADER_BYTES = 24;

const MAGIC_MICROSECONDS = 0xa1b2c3d4;
const MAGIC_NANOSECONDS = 0xa1b23c4d;
const MAGIC_PATCHED = 0xa1b2cd34;
const MAGICS = [MAGIC_MICROSECONDS, MAGIC_NANOSECONDS, MAGIC_PATCHED];

/** libpcap's own limits (`max_snaplen_for_dlt`); it does not hold records to the file's snaplen. */
const CAPLEN_MAX = 262_144;
const CAPLEN_MAX_BY_LINK_TYPE: Readonly<Record<number, number>> = {
  231: 128 * 1024 * 1024, // D-Bus
  249: 1024 * 1024, // USBPcap
  279: 8 * 1024 * 1024, // EBHSCR
};
/** The upper six bits of the link type word say something else (FCS length). */
const LINK_TYPE_MASK = 0x03ffffff;

/** Whether the four bytes at `at` begin a pcap file, in either byte order. */
export function isPcapMagic(bytes: Uint8Array, at: number): boolean {
  return MAGICS.includes(u32(bytes, at, true)) || MAGICS.includes(u32(bytes, at, false));
}

export class PcapCutter implements Cutter {
  readonly ext = 'cap';
  position = 0;
  boundary = 0;
  verdict: Verdict = Verdict.MORE;
  /** The file header, once walked. */
  #fileHeader: Uint8Array | undefined;
  #littleEndian = true;
  #recordHeaderBytes = RECORD_HEADER_BYTES;
  #caplenMax = CAPLEN_MAX;
  /** Bytes of the record under way that are still to come. */
  #left = 0;
  #records = 0;

  get cuttable(): boolean {
    return this.#records > 0;
  }

  walk(bytes: Uint8Array, from: number, to: number, cutAt: number): number {
    const base = this.position - from;
    let at = from;
    this.verdict = Verdict.MORE;
    if (this.#fileHeader === undefined) at = this.#walkFileHeader(bytes, at, to, cutAt);
    while (this.verdict === Verdict.MORE) {
      const step = Math.min(this.#left, to - at);
      at += step;
      this.#left -= step;
      if (this.#left > 0 || this.#fileHeader === undefined) break;
      this.boundary = base + at;
      if (to - at < this.#recordHeaderBytes) break;
      const caplen = u32(bytes, at + 8, this.#littleEndian);
      if (caplen > this.#caplenMax) this.verdict = Verdict.DAMAGED;
      else if (this.boundary >= cutAt && this.cuttable) this.verdict = Verdict.CUT;
      else {
        this.#left = this.#recordHeaderBytes + caplen;
        this.#records += 1;
      }
    }
    this.position = base + at;
    return at;
  }

  preamble(): Uint8Array {
    return this.#fileHeader ?? EMPTY;
  }

  resume(): Uint8Array {
    return this.preamble();
  }

  #walkFileHeader(bytes: Uint8Array, at: number, to: number, cutAt: number): number {
    if (to - at < FILE_HEADER_BYTES) return at;
    const littleEndian = MAGICS.includes(u32(bytes, at, true));
    const magic = u32(bytes, at, littleEndian);
    const major = u16(bytes, at + 4, littleEndian);
    const minor = u16(bytes, at + 6, littleEndian);
    if (!MAGICS.includes(magic) || major !== 2 || minor !== 4) {
      this.verdict = Verdict.DAMAGED;
      return at;
    }
    if (cutAt <= 0) {
      this.verdict = Verdict.CUT;
      return at;
    }
    this.#fileHeader = copyOf(bytes, at, at + FILE_HEADER_BYTES);
    this.#littleEndian = littleEndian;
    if (magic === MAGIC_PATCHED) this.#recordHeaderBytes = PATCHED_RECORD_HEADER_BYTES;
    const linkType = u32(bytes, at + 20, littleEndian) & LINK_TYPE_MASK;
    this.#caplenMax = CAPLEN_MAX_BY_LINK_TYPE[linkType] ?? CAPLEN_MAX;
    return at + FILE_HEADER_BYTES;
  }
}
