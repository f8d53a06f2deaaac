import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import type { Clock } from '../../../src/sinks/files/clock.js';
import type { FilesSinkOptions } from '../../../src/sinks/files/context.js';
import type { openDirect } from '../../../src/sinks/files/direct.js';
import { FilesSink } from '../../../src/sinks/files/files-sink.js';
import { blocksOf } from '../../../src/sinks/files/pool.js';
import type {
  FileJournal,
  FileRecord,
  MetaHeader,
  SinkHost,
  SinkSession,
  SinkStream,
} from '../../../src/sinks/sink.js';

import { memoryCopy } from '../../../src/wasm/copy.js';

/** mulberry32: a small generator that a seed repeats. */
export function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

export function newSeed(): number {
  return Number(process.env.D4GW_SEED ?? Math.floor(Math.random() * 2 ** 31));
}

const MEMORY_DIR = '/dev/shm';

/** A directory of its own, removed by `remove`; `inMemory`: on a memory file system if possible. */
export function tempDir(inMemory = false): { path: string; remove: () => void } {
  const parent = inMemory && existsSync(MEMORY_DIR) ? MEMORY_DIR : tmpdir();
  const path = mkdtempSync(join(parent, 'd4gw-files-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** A meta header whose frames the files sink has no use for. */
export function metaOf(bytes: Buffer, frames: number): MetaHeader {
  return { type: 'ja3-jl', bytes, frames, wire: Buffer.alloc(0) };
}

/** The shared sample files, or undefined where they are not at hand. */
export function sharedDir(): string | undefined {
  const beside = fileURLToPath(new URL('../../../../../shared', import.meta.url));
  const path = process.env.D4GW_SHARED ?? beside;
  return existsSync(path) ? path : undefined;
}

export function captures(kind: 'pcap' | 'pcapng'): string[] {
  const shared = sharedDir();
  if (shared === undefined) return [];
  const dir = join(shared, 'captures', kind);
  return readdirSync(dir)
    .sort()
    .map((name) => join(dir, name));
}

/** One file as the journal saw it. */
export interface Journaled {
  path: string;
  framesBefore: number;
  bytesBefore: number;
  /** The file was there before it was journaled. */
  existed: boolean;
  intents: { fileBytes: number; frames: number; bytes: number }[];
  released: boolean;
}

/** Records what it is told. */
export class RecordingJournal implements FileJournal {
  readonly files: Journaled[] = [];

  /** Bytes of a finished file, before compression, that repeat an earlier file's. */
  preambleOf(path: string): number {
    const entry = this.files.find(
      (file) => file.path === `${path}.part` && file.intents.length > 0,
    );
    if (entry === undefined) throw new Error(`${path} was not journaled`);
    return entry.intents.findLast((intent) => intent.bytes === entry.bytesBefore)?.fileBytes ?? 0;
  }

  open(file: Parameters<FileJournal['open']>[0]): FileRecord {
    const entry: Journaled = {
      path: file.path,
      framesBefore: file.framesBefore,
      bytesBefore: file.bytesBefore,
      existed: existsSync(file.path),
      intents: [],
      released: false,
    };
    this.files.push(entry);
    return {
      intent: (fileBytes, frames, bytes) => entry.intents.push({ fileBytes, frames, bytes }),
      release: () => {
        entry.released = true;
      },
    };
  }
}

/** A clock that stands still until it is told. */
export class ManualClock implements Clock {
  wall = Date.UTC(2026, 10, 5, 6, 7, 8);
  #now = 0;
  #timers = new Map<() => void, number>();

  now(): number {
    return this.wall;
  }

  monotonic(): number {
    return this.#now;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = () => callback();
    this.#timers.set(timer, this.#now + delayMs);
    return () => this.#timers.delete(timer);
  }

  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const [timer, at] = [...this.#timers].sort((a, b) => a[1] - b[1])[0] ?? [];
      if (timer === undefined || at === undefined || at > end) break;
      this.#timers.delete(timer);
      this.wall += Math.max(0, at - this.#now);
      this.#now = Math.max(this.#now, at);
      timer();
    }
    this.wall += end - this.#now;
    this.#now = end;
  }
}

export const DEFAULTS: Omit<FilesSinkOptions, 'dir'> = {
  rotateSeconds: 300,
  rotateBytes: 2 ** 30,
  compress: 'none',
  fsync: 'never',
  fsyncIntervalMs: 1000,
  flushMs: 1000,
};

const FRAME_AT = 4096;
const FRAME_BYTES = 4 * 1024 * 1024;

/** A sink with a host around it that counts. */
export class Rig {
  readonly sink: FilesSink;
  readonly journal: RecordingJournal;
  readonly notes: string[] = [];
  readonly logs: { level: number; msg: string; [key: string]: unknown }[] = [];
  readonly delivered = new Map<string, { frames: number; bytes: number }>();
  drains = 0;
  /** Called after each delivery and each drain. */
  onProgress: () => void = () => {};
  readonly #memory: Uint8Array;
  #sessions = 0;

  constructor(
    dir: string,
    options: Partial<FilesSinkOptions> = {},
    extra: {
      clock?: Clock;
      poolBytes?: number;
      openFiles?: number;
      journal?: FileJournal;
      direct?: typeof openDirect;
    } = {},
  ) {
    const poolBytes = extra.poolBytes ?? 4 * 1024 * 1024;
    const poolBase = FRAME_AT + FRAME_BYTES;
    const pages = Math.ceil((poolBase + poolBytes) / 65536);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.#memory = new Uint8Array(memory.buffer);
    this.journal = new RecordingJournal();
    const stream = { write: (line: string) => this.logs.push(JSON.parse(line)) };
    const host: SinkHost = {
      memory: this.#memory,
      copy: memoryCopy(memory),
      log: pino({ level: 'debug' }, stream),
      place: { dataDir: dir, gateway: 'g', worker: 0, workers: 1 },
      blocks: blocksOf(poolBase, poolBytes),
      poolBytes,
      delivered: (session, frames, bytes) => {
        const count = this.delivered.get(session.id)!;
        count.frames += frames;
        count.bytes += bytes;
        this.onProgress();
      },
      keyOf: () => undefined,
      drain: () => {
        this.drains += 1;
        this.onProgress();
      },
      note: (_session, text) => this.notes.push(text),
      journal: extra.journal ?? this.journal,
    };
    const all = { ...DEFAULTS, dir, ...options };
    this.sink = new FilesSink('disk', all, host, extra.clock, extra.openFiles, extra.direct);
  }

  session(type: number, meta?: MetaHeader, sensor = SENSOR): SinkSession {
    const id = `s${this.#sessions}`;
    this.#sessions += 1;
    this.delivered.set(id, { frames: 0, bytes: 0 });
    const session = { id, slot: this.#sessions, sensor, type, openedAt: new Date() };
    return meta === undefined ? session : { ...session, meta };
  }

  /** Hands over one frame; returns what `write` returned. */
  write(stream: SinkStream, payload: Uint8Array, type = 1): boolean {
    this.#memory.set(payload, FRAME_AT + 62);
    const frame = { header: FRAME_AT, payload: FRAME_AT + 62, size: payload.length, type };
    const taken = stream.write(frame);
    this.#memory.fill(0xee, FRAME_AT, FRAME_AT + 62 + payload.length); // it is not the sink's
    return taken;
  }

  /** A whole session whose stream comes in frames of the given sizes, or cut at random. */
  async send(
    type: number,
    payload: Uint8Array,
    cut: (left: number) => number,
    meta?: MetaHeader,
  ): Promise<SinkSession> {
    const session = this.session(type, meta);
    const stream = this.sink.open(session);
    for (let at = 0; at < payload.length; ) {
      const size = Math.max(1, Math.min(payload.length - at, cut(payload.length - at)));
      this.write(stream, payload.subarray(at, at + size), type);
      at += size;
    }
    await stream.end();
    return session;
  }

  /** Resolves when `condition` holds; looked at after each delivery and drain. */
  until(condition: () => boolean): Promise<void> {
    if (condition()) return Promise.resolve();
    return new Promise((resolve) => {
      this.onProgress = () => {
        if (condition()) resolve();
      };
    });
  }
}

export const SENSOR = '3b0a4a52-89a4-4d2e-9a5c-2f5b5c6d7e8f';

/** All files below a directory, sorted by path; those of one session are in order by number. */
export function filesBelow(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort(byNumber);
}

function byNumber(a: string, b: string): number {
  const key = (path: string) => {
    const match = /-(\d{4}-\d\d-\d\d-\d{6})(?:-(\d+))?\.(.*)$/.exec(basename(path));
    if (match === null) return path;
    const number = (match[2] ?? '0').padStart(8, '0');
    // A damaged stream's raw pieces come after the others.
    return `${match[1]} ${match[3]!.startsWith('raw') ? 1 : 0} ${number}`;
  };
  const [left, right] = [key(a), key(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** The content of a file, decompressed by the tools of the trade. */
export function contentOf(path: string): Buffer {
  if (path.endsWith('.lz4')) return tool('lz4', ['-d', '-c', path]);
  if (path.endsWith('.gz')) return tool('gunzip', ['-c', path]);
  return readFileSync(path);
}

export function tool(program: string, args: string[]): Buffer {
  const result = spawnSync(program, args, { maxBuffer: 2 ** 28 });
  if (result.status !== 0) {
    throw new Error(`${program} ${args.join(' ')}: ${result.status} ${result.stderr}`);
  }
  return result.stdout;
}
