import { createHash, randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { FrameEncoder } from '../../src/wire/header.js';
import type { Gateway } from './gateway.js';
import { RECORDED_KEY } from './peers.js';

export type Random = (below: number) => number;

/** What a sensor of these tests sends, with the D4 type of each. */
export const KINDS = { pcap: 1, lines: 3, jsonl: 6, meta: 254 } as const;
export type Kind = keyof typeof KINDS;

export const META = Buffer.from('{"type":"ja3-jl","encoding":"utf-8","tags":["tlp:white"]}');
export const PCAP_HEADER_BYTES = 24;
const PCAP_RECORD_BYTES = 16;
const POOL_BYTES = 1 << 20;

/** Endless content of one kind, made of whole records, the file header of a pcap first. */
export class Content {
  readonly kind: Kind;
  readonly #random: Random;
  #records = 0;

  constructor(kind: Kind, random: Random) {
    this.kind = kind;
    this.#random = random;
  }

  /** Records that come to about so many bytes, at least one. */
  next(bytes: number): Buffer {
    const parts: Buffer[] = [];
    if (this.kind === 'pcap' && this.#records === 0) parts.push(pcapHeader());
    for (let made = 0; made < bytes; made += parts.at(-1)!.length) parts.push(this.#record());
    return Buffer.concat(parts);
  }

  #record(): Buffer {
    const number = this.#records;
    this.#records += 1;
    const size = this.#random(4) === 0 ? this.#random(1500) : this.#random(120);
    const noise = pool.subarray(this.#random(POOL_BYTES - 1500)).subarray(0, size);
    if (this.kind === 'pcap') {
      const head = Buffer.alloc(PCAP_RECORD_BYTES);
      for (const [index, value] of [number, 0, size, size].entries()) {
        head.writeUInt32LE(value, 4 * index);
      }
      return Buffer.concat([head, noise]);
    }
    const text = noise.toString('base64');
    return Buffer.from(
      this.kind === 'jsonl' ? `{"n":${number},"é":"${text}"}\n` : `${number} é ${text}\n`,
    );
  }
}

const pool = Buffer.alloc(POOL_BYTES);
for (let at = 0, state = 1; at < POOL_BYTES; at += 4) {
  state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
  pool.writeInt32LE(state ^ (state >>> 15), at);
}

function pcapHeader(): Buffer {
  const header = Buffer.alloc(PCAP_HEADER_BYTES);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(262_144, 16);
  header.writeUInt32LE(1, 20); // Ethernet
  return header;
}

/** One sensor with one stream: what it has sent, as bytes and in frames. */
export class Source {
  readonly uuid: string = randomUUID();
  readonly hex = this.uuid.replaceAll('-', '');
  readonly type: number;
  readonly content: Content;
  /** Payload of the stream so far, without its meta header. */
  readonly sent: Buffer[] = [];
  /** Frames and payload bytes so far, with those of the meta header. */
  frames = 0;
  bytes = 0;
  readonly #encoder: FrameEncoder;
  readonly #key = Buffer.from(RECORDED_KEY);
  readonly #random: Random;

  constructor(
    readonly kind: Kind,
    random: Random,
  ) {
    this.type = KINDS[kind];
    this.content = new Content(kind, random);
    this.#random = random;
    this.#encoder = new FrameEncoder({ type: this.type, uuid: this.uuid, key: this.#key });
  }

  /** The frames that come first: the meta header's, cut at random, and one that is empty. */
  opening(): Buffer {
    if (this.kind !== 'meta') return Buffer.alloc(0);
    const encoder = new FrameEncoder({ type: 2, uuid: this.uuid, key: this.#key });
    const at = this.#random(META.length);
    const parts = [META.subarray(0, at), META.subarray(at), Buffer.alloc(0)];
    this.frames += parts.length;
    this.bytes += META.length;
    return Buffer.concat(parts.map((part) => encoder.encode(part, now())));
  }

  frame(payload: Buffer): Buffer {
    this.sent.push(payload);
    this.frames += 1;
    this.bytes += payload.length;
    return this.#encoder.encode(payload, now());
  }

  /** Content of about so many bytes in frames cut anywhere. */
  cutIntoFrames(content: Buffer, size: () => number): Buffer {
    const frames: Buffer[] = [];
    let at = 0;
    do {
      const end = Math.min(content.length, at + size());
      frames.push(this.frame(content.subarray(at, end)));
      at = end;
    } while (at < content.length);
    return Buffer.concat(frames);
  }

  get payload(): Buffer {
    return Buffer.concat(this.sent);
  }
}

const now = () => Math.floor(Date.now() / 1000);

/** Writes, and resolves when more may be written; false once the connection is closed. */
export async function offer(socket: Socket, bytes: Uint8Array): Promise<boolean> {
  if (socket.destroyed || !socket.writable) return false;
  if (socket.write(bytes)) return true;
  await new Promise<void>((resolve) => {
    const done = () => {
      socket.off('drain', done).off('close', done);
      resolve();
    };
    socket.on('drain', done).on('close', done);
  });
  return !socket.destroyed;
}

/** Resolves when the connection is closed, in whatever way. */
export async function gone(socket: Socket): Promise<void> {
  socket.resume();
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
}

/** Writes in pieces cut at random places, each on its way before the next. */
export async function sendCut(socket: Socket, bytes: Buffer, random: Random): Promise<void> {
  for (let at = 0; at < bytes.length && !socket.destroyed; ) {
    const size = 1 + random([40, 200, 5_000, 200_000][random(4)]!);
    const piece = bytes.subarray(at, at + size);
    at += piece.length;
    await new Promise<void>((resolve) => socket.write(piece, () => resolve()));
  }
}

/** Ends the stream, and resolves when the connection is closed. */
export async function finish(socket: Socket): Promise<void> {
  socket.end();
  await gone(socket);
}

/** Sends on and on until it is told to stop, or is cut off. */
export class Feed {
  readonly source: Source;
  readonly socket: Socket;
  readonly #random: Random;
  readonly #running: Promise<void>;
  #stopped = false;
  /** The connection ended before this was told to stop. */
  cut = false;

  constructor(socket: Socket, kind: Kind, random: Random, frameBytesMax = 20_000) {
    this.socket = socket;
    this.source = new Source(kind, random);
    this.#random = random;
    socket.resume();
    this.#running = this.#run(frameBytesMax);
  }

  async #run(frameBytesMax: number): Promise<void> {
    const { source, socket } = this;
    let goesOn = await offer(socket, source.opening());
    while (goesOn && !this.#stopped) {
      const content = source.content.next(1 + this.#random(3 * frameBytesMax));
      const frames = source.cutIntoFrames(content, () => this.#random(frameBytesMax));
      goesOn = await offer(socket, frames);
      await new Promise((resolve) => setTimeout(resolve, this.#random(8)));
    }
    this.cut = !goesOn;
  }

  /** Sends no more; the connection stays. */
  async pause(): Promise<void> {
    this.#stopped = true;
    await this.#running;
  }

  /** Sends no more and ends the stream in order; resolves when the connection is closed. */
  async end(): Promise<void> {
    await this.pause();
    await finish(this.socket);
  }

  /** Resolves when the connection is closed. */
  async closed(): Promise<void> {
    await gone(this.socket);
    await this.#running;
  }
}

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/**
 * The stored files of every sensor, in the order of its pieces, by its UUID without hyphens; none
 * where the directory is not there.
 */
export function filesBySensor(gateway: Gateway, dir = gateway.sensorsDir): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const file of filesIn(gateway, dir)) {
    const hex = file.slice(0, 32);
    found.set(hex, [...(found.get(hex) ?? []), join(dir, file)]);
  }
  return found;
}

function filesIn(gateway: Gateway, dir: string): string[] {
  try {
    return gateway.files(dir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Those that hold the stream: a meta header beside them does not. */
export const dataFiles = (files: readonly string[] = []) =>
  files.filter((file) => !file.endsWith('.json'));

/** The bytes of all, after each other. */
export const readAll = (files: readonly string[]) =>
  Buffer.concat(files.map((file) => readFileSync(file)));

/** Processes that a process has started and that still run. */
export function childrenOf(pid: number): number[] {
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return [];
  return readdirSync(tasks).flatMap((task) => {
    const text = readFileSync(join(tasks, task, 'children'), 'latin1').trim();
    return text === '' ? [] : text.split(/\s+/).map(Number);
  });
}

export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    return false;
  }
}
