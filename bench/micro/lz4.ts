import assert from 'node:assert/strict';
import { gunzipSync, gzipSync } from 'node:zlib';
import { compressFrameSync, decompressFrameSync } from 'lz4-napi';
import { FORMATS, type Format, makePayload } from '../load/payload.js';
import { type MicroTask, measure } from './measure.js';

const BLOCK_BYTES = [65_536, 1024 * 1024];
/** The files sink's level. */
const GZIP_LEVEL = 4;

/** One block, compressed as the files sink does it, here on the calling thread. */
function task(
  name: string,
  block: Buffer,
  compress: (block: Buffer) => Buffer,
  expand: (packed: Buffer) => Buffer,
): MicroTask {
  let packed: Buffer = Buffer.alloc(0);
  return {
    name: `${name}, to ${((compress(block).length / block.length) * 100).toFixed(0)} %`,
    frames: 1,
    bytes: block.length,
    work: () => {
      packed = compress(block);
    },
    check: () => assert.ok(expand(packed).equals(block)),
  };
}

function tasksOf(format: Format, bytes: number): MicroTask[] {
  const block = makePayload(format, bytes).cycle;
  const lz4 = (contentChecksum: boolean) => (plain: Buffer) =>
    compressFrameSync(plain, { contentChecksum });
  return [
    task('lz4', block, lz4(true), decompressFrameSync),
    task('lz4 without checksum', block, lz4(false), decompressFrameSync),
    task('gzip', block, (plain) => gzipSync(plain, { level: GZIP_LEVEL }), gunzipSync),
  ];
}

/** Compression of blocks of each payload format; a "frame" is a block. */
export async function run(): Promise<void> {
  for (const format of FORMATS) {
    for (const bytes of BLOCK_BYTES) {
      await measure(`compress ${format}, blocks of ${bytes / 1024} KiB`, tasksOf(format, bytes));
    }
  }
}
