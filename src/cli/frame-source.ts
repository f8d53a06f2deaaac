import { createReadStream } from 'node:fs';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { GatewayError, messageOf } from '../errors.js';
import { diskBlocks } from '../spool/disk-blocks.js';
import { BLOCK_MAGIC, RecordKind } from '../spool/layout.js';
import { type Damage, noDamage } from '../spool/records.js';
import { SEGMENT_EXT, seqOfName } from '../spool/segment.js';
import { FileSource } from '../spool/segment-reader.js';
import type { SpoolSession } from '../spool/session-record.js';
import { type Frame, FrameReader } from '../wire/frame-reader.js';
import { decodeHeader } from '../wire/header.js';
import { HEADER_BYTES, OFFSET_SIZE } from '../wire/layout.js';

const READ_BYTES = 256 * 1024;
const PART_NAME = /^\d+$/;

/** A frame, and of an archive or a spool where it stands there. */
export interface StoredFrame extends Frame {
  seq?: number;
  session?: SpoolSession;
}

/** What a file holds, in its order. */
export type StoredItem =
  /** A session begins, or, where it goes on from an earlier segment, is introduced again. */
  | { kind: 'open'; session: SpoolSession; isContinued: boolean }
  | { kind: 'frame'; frame: StoredFrame }
  | { kind: 'end'; session: SpoolSession };

/** A file that was opened, and what it is. */
export interface StoredFile {
  readonly path: string;
  readonly isSegment: boolean;
}

/**
 * The files that paths name: a directory stands for the segments in it, and in the directories of
 * workers below it, oldest first.
 * @throws GatewayError D4GW_E_DECODE
 */
export async function storedFiles(paths: readonly string[]): Promise<StoredFile[]> {
  const files: StoredFile[] = [];
  for (const path of paths) {
    try {
      if ((await stat(path)).isDirectory()) files.push(...(await segmentsBelow(path)));
      else files.push({ path, isSegment: await isSegment(path) });
    } catch (error) {
      if (error instanceof GatewayError) throw error;
      throw new GatewayError('D4GW_E_DECODE', `${path}: ${messageOf(error)}`, { cause: error });
    }
  }
  return files;
}

async function segmentsBelow(dir: string): Promise<StoredFile[]> {
  const names = await readdir(dir);
  const parts = names.filter((name) => PART_NAME.test(name)).sort((a, b) => Number(a) - Number(b));
  const own = names.filter((name) => seqOfName(name) !== undefined).sort();
  const files = own.map((name) => ({ path: join(dir, name), isSegment: true }));
  for (const part of parts) {
    const below = await readdir(join(dir, part));
    const segments = below.filter((name) => seqOfName(name) !== undefined).sort();
    files.push(...segments.map((name) => ({ path: join(dir, part, name), isSegment: true })));
  }
  if (files.length === 0) {
    throw new GatewayError(
      'D4GW_E_DECODE',
      `${dir}: no segment (*${SEGMENT_EXT}) in it or below it`,
    );
  }
  return files;
}

/** By its name, or by how it begins. */
async function isSegment(path: string): Promise<boolean> {
  if (path.endsWith(SEGMENT_EXT)) return true;
  const handle = await open(path, 'r');
  try {
    const head = Buffer.alloc(4);
    await handle.read(head, 0, 4, 0);
    return head.readUInt32LE(0) === BLOCK_MAGIC;
  } finally {
    await handle.close();
  }
}

/**
 * What a segment holds, block by block.
 * @param damage what can't be read is added to it
 * @throws NewerFormatError
 */
export async function* segmentItems(path: string, damage: Damage): AsyncGenerator<StoredItem[]> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'r');
    const { size } = await handle.stat();
    const source = new FileSource(handle, size);
    const known = new Set<string>();
    for await (const block of diskBlocks(source, path, new Map(), damage)) {
      const items: StoredItem[] = [];
      for (const { session, opens } of block.sessions) {
        if (!opens && !known.has(session.id))
          items.push({ kind: 'open', session, isContinued: true });
        known.add(session.id);
      }
      for (const { seq, kind, session, data } of block.records()) {
        if (kind === RecordKind.FRAME) {
          const frame = frameAt(data, block.at);
          if (frame !== undefined) {
            items.push({
              kind: 'frame',
              frame: { ...frame, seq, ...(session ? { session } : {}) },
            });
          }
        } else if (session !== undefined) {
          const isOpen = kind === RecordKind.OPEN;
          items.push(
            isOpen ? { kind: 'open', session, isContinued: false } : { kind: 'end', session },
          );
        }
      }
      yield items;
    }
  } finally {
    await handle?.close();
  }
}

function frameAt(bytes: Buffer, offset: number): Frame | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  if (bytes.length !== HEADER_BYTES + bytes.readUInt32LE(OFFSET_SIZE)) return undefined;
  return { offset, header: decodeHeader(bytes), bytes, payload: bytes.subarray(HEADER_BYTES) };
}

/** The type 2 frames of a session's meta header. */
export function metaFrames({ meta }: SpoolSession): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; meta !== undefined && at < meta.wire.length; ) {
    const end = at + HEADER_BYTES + meta.wire.readUInt32LE(at + OFFSET_SIZE);
    frames.push(frameAt(meta.wire.subarray(at, end), 0)!);
    at = end;
  }
  return frames;
}

/**
 * The frames of a stream, chunk by chunk.
 * @throws FrameError once the frames before the fault were given
 */
export async function* streamFrames(
  input: Readable,
  maxPayloadBytes: number,
): AsyncGenerator<StoredFrame[]> {
  const reader = new FrameReader({ maxPayloadBytes });
  let isFirst = true;
  for await (const chunk of input) {
    if (isFirst) refuseSegment(chunk as Buffer);
    isFirst = false;
    const frames: StoredFrame[] = [];
    try {
      for (const frame of reader.push(chunk as Buffer)) frames.push(frame);
    } catch (error) {
      yield frames;
      throw error;
    }
    yield frames;
  }
  reader.end();
}

/** A segment is looked into by its place: it can't come through a pipe. */
function refuseSegment(frames: Buffer): void {
  if (frames.length < 4 || frames.readUInt32LE(0) !== BLOCK_MAGIC) return;
  throw new GatewayError('D4GW_E_DECODE', 'standard input is a segment: give it as a file');
}

export function openStream(path: string): Readable {
  return createReadStream(path, { highWaterMark: READ_BYTES });
}

/** As a fault of a file: what of it was skipped. */
export function damageText({ blocks, records, bytes }: Damage): string | undefined {
  if (blocks === 0 && records === 0 && bytes === 0) return undefined;
  return `damaged: ${records} records and ${bytes} bytes in ${Math.max(1, blocks)} places were skipped`;
}

export { noDamage };
