import type { FileHandle } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip, gzip, type InflateRaw, inflateRaw } from 'node:zlib';
import { compressFrame, decompressFrame } from 'lz4-napi';
import type { Compression } from './names.js';
import { ENCODED_BLOCK_BYTES_MAX } from './pool.js';

/** Between speed and size. */
const GZIP_LEVEL = 4;
/** No frame or member that a sink wrote is longer: a block that did not shrink, and its framing. */
const ENCODED_BYTES_MAX = ENCODED_BLOCK_BYTES_MAX + 16 * 1024;

const GZIP_MAGIC = 0x1f8b08;
const GZIP_HEADER_BYTES = 10;
const GZIP_TRAILER_BYTES = 8;

const gzipAsync = promisify(gzip) as (data: Uint8Array, options: object) => Promise<Buffer>;
const gunzipAsync = promisify(gunzip) as (data: Uint8Array, options: object) => Promise<Buffer>;

/**
 * One LZ4 frame or gzip member, made in libuv's pool; concatenated they are a valid file.
 * `plain` must stay as it is until then.
 */
export function encode(plain: Uint8Array, compress: 'gzip' | 'lz4'): Promise<Buffer> {
  if (compress === 'gzip') return gzipAsync(plain, { level: GZIP_LEVEL });
  return compressFrame(plain, { contentChecksum: true });
}

/** One frame or member of a file. */
export interface Decoded {
  /** Where it lies in the file. */
  from: number;
  to: number;
  plain: Uint8Array;
}

/**
 * The content of an open file from `from` on, piece by piece; ends at the first frame or member
 * that is not whole.
 */
export async function* decode(
  handle: FileHandle,
  compress: Compression,
  from = 0,
): AsyncGenerator<Decoded> {
  const window = Buffer.allocUnsafeSlow(ENCODED_BYTES_MAX);
  for (let at = from; ; ) {
    const { bytesRead } = await readFully(handle, window, at);
    if (bytesRead === 0) return;
    const view = window.subarray(0, bytesRead);
    if (compress === 'none') {
      yield { from: at, to: at + bytesRead, plain: view };
      at += bytesRead;
      continue;
    }
    const decoded = compress === 'lz4' ? await decodeLz4(view) : await decodeGzip(view);
    if (decoded === undefined) return;
    yield { from: at, to: at + decoded.length, plain: decoded.plain };
    at += decoded.length;
  }
}

/** Reads until the window is full or the file ends. */
async function readFully(
  handle: FileHandle,
  window: Buffer,
  at: number,
): Promise<{ bytesRead: number }> {
  let bytesRead = 0;
  while (bytesRead < window.length) {
    const length = window.length - bytesRead;
    const step = (await handle.read(window, bytesRead, length, at + bytesRead)).bytesRead;
    if (step === 0) break;
    bytesRead += step;
  }
  return { bytesRead };
}

async function decodeGzip(
  view: Buffer,
): Promise<{ length: number; plain: Uint8Array } | undefined> {
  if (view.length < GZIP_HEADER_BYTES || view.readUIntBE(0, 3) !== GZIP_MAGIC) return undefined;
  if (view[3] !== 0) return undefined; // a name or comment: no sink writes one
  try {
    const length = GZIP_HEADER_BYTES + (await deflatedLength(view)) + GZIP_TRAILER_BYTES;
    if (length > view.length) return undefined;
    const plain = await gunzipAsync(view.subarray(0, length), {
      maxOutputLength: ENCODED_BYTES_MAX,
    });
    return { length, plain };
  } catch {
    return undefined;
  }
}

/** Bytes of the deflate stream behind a gzip header. */
function deflatedLength(view: Buffer): Promise<number> {
  const options = { info: true, maxOutputLength: ENCODED_BYTES_MAX };
  return new Promise((resolve, reject) => {
    inflateRaw(view.subarray(GZIP_HEADER_BYTES), options, (error, result) => {
      if (error !== null) reject(error);
      else resolve((result as unknown as { engine: InflateRaw }).engine.bytesWritten);
    });
  });
}

async function decodeLz4(view: Buffer): Promise<{ length: number; plain: Uint8Array } | undefined> {
  const length = lz4FrameLength(view);
  if (length === undefined) return undefined;
  try {
    return { length, plain: await decompressFrame(view.subarray(0, length)) };
  } catch {
    return undefined;
  }
}

const LZ4_MAGIC = 0x184d2204;
const LZ4_UNCOMPRESSED_BIT = 0x80000000;

/**
 * Bytes of the LZ4 frame that `view` begins with (LZ4 frame format 1.6): a descriptor, blocks each
 * with its size in front, a zero size, and, by the descriptor's flags, checksums.
 */
export function lz4FrameLength(view: Buffer): number | undefined {
  if (view.length < 7 || view.readUInt32LE(0) !== LZ4_MAGIC) return undefined;
  const flags = view[4]!;
  const blockChecksumBytes = (flags & 0x10) === 0 ? 0 : 4;
  const contentSizeBytes = (flags & 0x08) === 0 ? 0 : 8;
  const contentChecksumBytes = (flags & 0x04) === 0 ? 0 : 4;
  const dictionaryBytes = (flags & 0x01) === 0 ? 0 : 4;
  let at = 7 + contentSizeBytes + dictionaryBytes;
  for (;;) {
    if (at + 4 > view.length) return undefined;
    const size = view.readUInt32LE(at) & ~LZ4_UNCOMPRESSED_BIT;
    at += 4;
    if (size === 0) break;
    at += size + blockChecksumBytes;
  }
  at += contentChecksumBytes;
  return at <= view.length ? at : undefined;
}
