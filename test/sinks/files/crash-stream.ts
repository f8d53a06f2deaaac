import { pcapHeader, pcapRecord } from './cutters/build.js';

const RECORDS = 20_000;

function bodyBytes(index: number): number {
  return (index * 7919) % 700;
}

/** A pcap stream that two processes make alike. */
export function crashStream(): Buffer {
  const records = Array.from({ length: RECORDS }, (_, index) =>
    pcapRecord(Buffer.alloc(bodyBytes(index), index & 255)),
  );
  return Buffer.concat([pcapHeader(), ...records]);
}

/** Where, in the stream's first `bytes`, the last whole record ends. */
export function lastWhole(bytes: number): number {
  if (bytes < 24) return 0;
  let end = 24;
  for (let index = 0; index < RECORDS; index += 1) {
    const next = end + 16 + bodyBytes(index);
    if (next > bytes) break;
    end = next;
  }
  return end;
}
