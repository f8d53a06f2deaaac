import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { skipUnless } from './require.js';

/** The repository's root: this file runs as dist/test/support/shared.js. */
export const repository = resolve(fileURLToPath(new URL('../../..', import.meta.url)));

/** Recorded streams, captures and vectors: beside the clone unless D4GW_SHARED says where. */
export const sharedDir = resolve(process.env.D4GW_SHARED ?? join(repository, '..', 'shared'));

/** `skip` option of the tests that need the shared files. */
export const skipWithoutShared = (): string | false =>
  skipUnless(
    existsSync(join(sharedDir, 'streams', 'manifest.json')),
    `no shared files at ${sharedDir} (set D4GW_SHARED)`,
  );

/** The path of a shared file, such as `sharedPath('vectors', 'x.json')`. */
export function sharedPath(...parts: string[]): string {
  return join(sharedDir, ...parts);
}

/** One recorded stream of `streams/manifest.json`. */
export interface RecordedStream {
  file: string;
  client: string;
  type: number;
  key: string;
  uuid: string;
  frames: number;
  payload_bytes: number;
  payload_sha256: string;
  types: number[];
  /** By D4 type, as decimal text. */
  per_type: Record<string, { frames: number; payload_bytes: number; sha256: string }>;
  empty_frames: number;
  max_payload: number;
  stream_bytes: number;
  stream_sha256: string;
  odd: boolean;
  note: string;
}

/** Every recorded stream; none where the shared files are absent. */
export function recordedStreams(): RecordedStream[] {
  if (skipWithoutShared()) return [];
  const manifest = JSON.parse(readFileSync(sharedPath('streams', 'manifest.json'), 'utf8'));
  return manifest.streams as RecordedStream[];
}

/** The paths of all captures of one form; none where the shared files are absent. */
export function captures(form: 'pcap' | 'pcapng'): string[] {
  if (skipWithoutShared()) return [];
  const dir = sharedPath('captures', form);
  return readdirSync(dir)
    .sort()
    .map((name) => join(dir, name));
}
