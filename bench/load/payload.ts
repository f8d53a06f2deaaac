import { createCipheriv } from 'node:crypto';
import { TYPE_JSONL, TYPE_PCAP } from '../../src/wire/types.js';

/**
 * What the sensors send: text or packets as real ones would, made from a seed, so that any process
 * can say which bytes must have been stored. A stream is a prologue (for pcap its file header, as
 * `tcpdump -U` sends it) and then one cycle over and over; the cycle ends with a whole record.
 */
export type Format = 'jsonl' | 'pcap';

export const FORMATS: readonly Format[] = ['jsonl', 'pcap'];

export interface Payload {
  type: number;
  prologue: Buffer;
  cycle: Buffer;
}

const SEED = Buffer.from('d4-gateway bench');
const LINE_BYTES = 128;
/** The shortest line that its fixed text and a few digits fit into. */
const LINE_BYTES_MIN = 64;
/** Its seconds since the epoch are fixed: the same bytes in each run. */
const TIME = 1_795_000_000;

const PCAP_FILE_HEADER = Buffer.from('d4c3b2a1020004000000000000000000ffff000001000000', 'hex');
const PCAP_RECORD_HEADER_BYTES = 16;
/** Header and packet: a mix of acknowledgements, DNS and full segments. */
const PCAP_RECORD_BYTES = [16 + 60, 16 + 90, 16 + 1514, 16 + 1514, 16 + 220];
const PCAP_RECORD_BYTES_MIN = PCAP_RECORD_HEADER_BYTES + 14;

/** @param bytes length of the cycle; at least a record */
export function makePayload(format: Format, bytes: number): Payload {
  if (format === 'pcap') {
    return { type: TYPE_PCAP, prologue: PCAP_FILE_HEADER, cycle: pcapRecords(bytes) };
  }
  return { type: TYPE_JSONL, prologue: Buffer.alloc(0), cycle: jsonLines(bytes) };
}

/** Lines of JSON, about two to one for LZ4, each with its newline; together exactly `bytes`. */
function jsonLines(bytes: number): Buffer {
  const lines = Buffer.alloc(bytes);
  const digits = noise(bytes).toString('hex');
  let at = 0;
  for (let line = 0; at < bytes; line++) {
    const length = pieceOf(bytes - at, LINE_BYTES, LINE_BYTES_MIN);
    const port = 1024 + ((line * 7919) % 60_000);
    const start = `{"ts":${TIME + line},"src":"198.51.100.${line % 256}","dport":${port},"id":"`;
    const room = length - start.length - 3;
    lines.write(`${start}${digits.slice(at, at + room)}"}\n`, at, 'latin1');
    at += length;
  }
  return lines;
}

/** Records of packets with noise for content; together exactly `bytes`. */
function pcapRecords(bytes: number): Buffer {
  const records = noise(bytes);
  let at = 0;
  for (let record = 0; at < bytes; record++) {
    const wanted = PCAP_RECORD_BYTES[record % PCAP_RECORD_BYTES.length]!;
    const length = pieceOf(bytes - at, wanted, PCAP_RECORD_BYTES_MIN);
    const caplen = length - PCAP_RECORD_HEADER_BYTES;
    records.writeUInt32LE(TIME + Math.floor(record / 1000), at);
    records.writeUInt32LE((record % 1000) * 1000, at + 4);
    records.writeUInt32LE(caplen, at + 8);
    records.writeUInt32LE(caplen, at + 12);
    at += length;
  }
  return records;
}

/** The next record's length: `wanted`, or all that is left where less than the least would remain. */
function pieceOf(left: number, wanted: number, least: number): number {
  return left < wanted + least ? left : wanted;
}

/** Bytes that no compressor shortens, the same in each run. */
function noise(bytes: number): Buffer {
  const cipher = createCipheriv('aes-128-ctr', SEED, Buffer.alloc(16));
  return cipher.update(Buffer.alloc(bytes));
}
