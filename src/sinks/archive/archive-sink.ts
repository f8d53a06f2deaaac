import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ArchiveSinkConfig, SinkConfig } from '../../config/schema.js';
import type { SpoolSession } from '../../spool/session-record.js';
import { CLOSE_DEADLINE_MS, Spool } from '../../spool/spool.js';
import { HEADER_BYTES } from '../../wire/layout.js';
import { hasCode } from '../files/directories.js';
import type {
  FrameRef,
  SessionEnd,
  Sink,
  SinkHost,
  SinkSession,
  SinkStatus,
  SinkStream,
} from '../sink.js';

/** What waits to be written has at least this much memory, however small the pool's share is. */
const MEMORY_BYTES_MIN = 4 * 1024 * 1024;
/** No segment is larger than this share of what a worker keeps. */
const SEGMENT_SHARE_MAX = 1 / 4;
/** As the account counts what was kept for as long as there was room, and then made way. */
export const EXPIRED = 'expired';
const PART_NAME = /^\d+$/;

/** A session as it is archived: whatever the spool tells of it comes back with this object. */
class ArchivedSession implements SpoolSession {
  readonly id: string;
  readonly sensor: string;
  readonly type: number;
  readonly openedAt: Date;
  readonly meta?: NonNullable<SinkSession['meta']>;
  readonly origin: string;
  readonly of: SinkSession;
  /** Its meta header was counted by the session that it goes on from, and comes once more. */
  isMetaKnown: boolean;

  constructor(session: SinkSession, origin: string, sink: string) {
    const { id, sensor, type, openedAt, meta } = session;
    this.id = id;
    this.sensor = sensor;
    this.type = type;
    this.openedAt = openedAt;
    if (meta) this.meta = meta;
    this.origin = session.origin ?? origin;
    this.of = session;
    this.isMetaKnown = meta !== undefined && (session.resume?.get(sink)?.continues ?? false);
  }
}

/**
 * Keeps verified frames byte for byte, in segments of one directory for each worker, until
 * `keepBytes` are full: then the oldest segment makes way.
 */
export class ArchiveSink implements Sink {
  readonly kind = 'archive';
  readonly name: string;
  readonly #config: ArchiveSinkConfig;
  readonly #host: SinkHost;
  #keepBytes: number;
  /** Of workers that are no more: nothing is added to them. Oldest first. */
  readonly #left: Spool[] = [];
  #own!: Spool;
  #isPaused = false;
  /** What made way since the worker began. */
  readonly #expired = { frames: 0, bytes: 0 };
  #closing: Promise<void> | undefined;

  constructor(name: string, config: ArchiveSinkConfig, host: SinkHost) {
    this.name = name;
    this.#config = config;
    this.#host = host;
    this.#keepBytes = Math.floor(config.keepBytes / host.place.workers);
  }

  /**
   * Opens the archive, and brings in order what the last run left.
   * @throws GatewayError D4GW_E_SPOOL
   */
  async start(): Promise<void> {
    const { dir } = this.#config;
    const { worker, workers } = this.#host.place;
    this.#own = await this.#open(join(dir, String(worker)));
    this.#own.onRoom(() => this.#drain());
    for (const index of await partsOf(dir)) {
      if (index < workers || index % workers !== worker) continue;
      this.#left.push(await this.#open(join(dir, String(index))));
    }
    this.#expire();
  }

  /** Of what may differ, `keepBytes` alone. */
  reconfigure(config: SinkConfig): void {
    const { keepBytes } = config as ArchiveSinkConfig;
    this.#keepBytes = Math.floor(keepBytes / this.#host.place.workers);
    this.#expire();
  }

  status(): SinkStatus {
    const spool: Spool | undefined = this.#own;
    if (spool === undefined) return { state: 'ok' };
    const { diskBytes, memoryBytes, sealedSegments } = spool.usage;
    const { frames, bytes } = this.#expired;
    return {
      state: spool.isFailing ? 'failing' : 'ok',
      lastError: spool.lastError,
      figures: {
        diskBytes,
        memoryBytes,
        sealedSegments,
        expiredFrames: frames,
        expiredBytes: bytes,
      },
    };
  }

  open(session: SinkSession): SinkStream {
    const spool = this.#own;
    const { memory, place } = this.#host;
    const ref = spool.openSession(new ArchivedSession(session, place.gateway, this.name));
    return {
      write: (frame: FrameRef) => {
        spool.append(ref, frame.memory ?? memory, frame.header, HEADER_BYTES + frame.size);
        if (!spool.isFull) return true;
        this.#isPaused = true;
        return false;
      },
      sync: async () => {
        await spool.sync();
        return undefined;
      },
      end: async (how: SessionEnd = { code: 'closed', detail: '' }) => {
        await spool.held(spool.endSession(ref, how.code, how.detail));
      },
    };
  }

  #delivered(session: ArchivedSession, frames: number, bytes: number): void {
    const { of, meta, isMetaKnown } = session;
    session.isMetaKnown = false;
    const known = isMetaKnown && meta ? meta : undefined;
    this.#host.delivered(of, frames - (known?.frames ?? 0), bytes - (known?.bytes.length ?? 0));
  }

  close(deadlineMs = CLOSE_DEADLINE_MS): Promise<void> {
    const spools = this.#own === undefined ? [] : [this.#own, ...this.#left];
    this.#closing ??= Promise.all(spools.map((spool) => spool.close(deadlineMs))).then(() => {});
    return this.#closing;
  }

  #open(dir: string): Promise<Spool> {
    const { compress, segmentBytes } = this.#config;
    return Spool.open({
      dir,
      // What is kept is bounded by `#expire`, which never asks the sensors to wait.
      maxBytes: Number.MAX_SAFE_INTEGER,
      segmentBytes: Math.min(segmentBytes, this.#keepBytes * SEGMENT_SHARE_MAX),
      persist: 'always',
      memoryBytes: Math.max(MEMORY_BYTES_MIN, this.#host.poolBytes),
      compress,
      log: this.#host.log,
      custody: (session, frames, bytes) => {
        if (session instanceof ArchivedSession) this.#delivered(session, frames, bytes);
      },
      sealed: () => this.#expire(),
    });
  }

  /** The oldest segments make way for what is over the bound; the one that grows stays. */
  #expire(): void {
    if (this.#own === undefined) return;
    const spools = [...this.#left, this.#own];
    let kept = spools.reduce((sum, { usage }) => sum + usage.diskBytes, 0);
    for (const spool of spools) {
      while (kept > this.#keepBytes && spool.usage.sealedSegments > 0) {
        const before = spool.usage.diskBytes;
        const { frames, bytes } = spool.dropOldest(EXPIRED);
        const freed = before - spool.usage.diskBytes;
        this.#expired.frames += frames;
        this.#expired.bytes += bytes;
        kept -= freed;
        const fields = { keepBytes: this.#keepBytes, freed, frames, bytes };
        this.#host.log.info(fields, 'the archive is full: its oldest segment made way');
        if (freed === 0) return;
      }
    }
  }

  #drain(): void {
    if (!this.#isPaused || this.#closing !== undefined) return;
    this.#isPaused = false;
    this.#host.drain();
  }
}

/** Numbers of the workers that an archive has directories of, in order. */
export async function partsOf(dir: string): Promise<number[]> {
  let names: string[];
  try {
    names = await readdir(dir);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
  return names
    .filter((name) => PART_NAME.test(name))
    .map(Number)
    .sort((a, b) => a - b);
}
