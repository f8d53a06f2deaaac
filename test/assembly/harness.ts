import { createHmac } from 'node:crypto';
import {
  CONTROL_BASE,
  CONTROL_TYPES,
  DESCRIPTOR_ADDRESS,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_GENERATION,
  DESCRIPTOR_KIND,
  DESCRIPTOR_PLACE,
  DESCRIPTOR_RELEASE,
  DESCRIPTOR_SESSION,
  DESCRIPTOR_SIZE,
  DESCRIPTOR_STATUS,
  DESCRIPTOR_TYPE,
  Kind,
  type MemoryMap,
  mapMemory,
  Place,
  SCRATCH_BYTES,
  SCRATCH_CONSUMER,
  SESSION_BYTES,
  SESSION_FRAMES,
  SESSION_GENERATION,
  SESSION_PAYLOAD,
  SESSION_STATE,
  SESSION_TYPE,
  SESSION_UUID,
  SessionState,
} from '../../src/ring/layout.js';
import type { WasmInstance } from '../../src/wasm/bindings.js';
import { createMemory, instantiate, loadModule, type WasmBuild } from '../../src/wasm/loader.js';
import {
  HEADER_BYTES,
  OFFSET_HMAC,
  OFFSET_SIZE,
  OFFSET_TIMESTAMP,
  OFFSET_TYPE,
  OFFSET_UUID,
  OFFSET_VERSION,
} from '../../src/wire/layout.js';
import { KNOWN_TYPES } from '../../src/wire/types.js';

export const BUILDS: readonly WasmBuild[] = ['simd', 'scalar'];

/** A version 4 UUID, as a sensor sends it. */
export const UUID = Buffer.from('3a9f1c526d0e4b7a9c415e2f8b7d0a13', 'hex');
/** The time of every frame made here, seconds since the epoch. */
export const TIME = 1_795_348_281;

export interface FrameFields {
  version?: number;
  type?: number;
  uuid?: Uint8Array;
  time?: bigint;
  payload?: Uint8Array;
  /** What the size field says; the payload's length by default. */
  size?: number;
  key?: Uint8Array;
}

/** A frame as a sensor sends it, signed with node:crypto. */
export function frame(fields: FrameFields = {}): Buffer {
  const payload = fields.payload ?? Buffer.alloc(0);
  const bytes = Buffer.alloc(HEADER_BYTES + payload.length);
  bytes[OFFSET_VERSION] = fields.version ?? 1;
  bytes[OFFSET_TYPE] = fields.type ?? 1;
  bytes.set(fields.uuid ?? UUID, OFFSET_UUID);
  bytes.writeBigUInt64LE(fields.time ?? BigInt(TIME), OFFSET_TIMESTAMP);
  bytes.writeUInt32LE(fields.size ?? payload.length, OFFSET_SIZE);
  bytes.set(payload, HEADER_BYTES);
  const hmac = createHmac('sha256', fields.key ?? Buffer.from('key'));
  bytes.set(hmac.update(bytes).digest(), OFFSET_HMAC);
  return bytes;
}

/** A small, seeded generator (mulberry32): tests print the seed and can be run again with it. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number from 0 to `end - 1`. */
  below(end: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * end);
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (let i = 0; i < length; i++) bytes[i] = this.below(256);
    return bytes;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}

/** The seed of this run: D4GW_SEED, or a new one. */
export function seedOfRun(): number {
  const given = process.env.D4GW_SEED;
  return given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given);
}

export interface DescriptorFields {
  address: number;
  size: number;
  session: number;
  kind: number;
  type: number;
  status: number;
  place: number;
  release: number;
  generation: number;
}

export interface HarnessOptions {
  sessions?: number;
  descriptors?: number;
  ringBytes?: number;
  assemblyBytes?: number;
  maxPayloadBytes?: number;
  scratch?: number;
}

/** One build over a memory of its own, with views for what a test prepares and looks at. */
export class Harness {
  readonly map: MemoryMap;
  readonly memory: WebAssembly.Memory;
  readonly bytes: Buffer;
  readonly view: DataView;
  readonly wasm: WasmInstance;

  constructor(build: WasmBuild, options: HarnessOptions = {}) {
    this.map = mapMemory({
      sessions: options.sessions ?? 8,
      descriptors: options.descriptors ?? 1024,
      ringBytes: options.ringBytes ?? 1 << 20,
      assemblyBytes: options.assemblyBytes ?? 4096,
      poolBytes: 4096,
    });
    this.memory = createMemory(this.map);
    this.bytes = Buffer.from(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    const scratch = options.scratch ?? SCRATCH_CONSUMER;
    // The module must not rely on what its scratch held before.
    this.bytes.fill(0xee, scratch, scratch + SCRATCH_BYTES);
    this.wasm = instantiate(
      loadModule(build).module,
      this.memory,
      scratch,
      this.map,
      options.maxPayloadBytes ?? 1_000_000,
    );
    this.accept(KNOWN_TYPES);
  }

  accept(types: readonly number[]): void {
    const set = this.bytes.subarray(CONTROL_BASE + CONTROL_TYPES).subarray(0, 32);
    set.fill(0);
    for (const type of types) set[type >> 3] = (set[type >> 3] ?? 0) | (1 << (type & 7));
  }

  slot(session: number): number {
    return this.map.sessionBase + session * SESSION_BYTES;
  }

  /** Fixes a session's identity, as the gateway does after NEW_SESSION. */
  open(session: number, type: number, uuid: Uint8Array = UUID, generation = 7): void {
    const slot = this.slot(session);
    this.bytes.fill(0, slot, slot + SESSION_BYTES);
    this.bytes[slot + SESSION_STATE] = SessionState.FIXED;
    this.bytes[slot + SESSION_TYPE] = type;
    this.bytes.set(uuid, slot + SESSION_UUID);
    this.view.setUint32(slot + SESSION_GENERATION, generation, true);
  }

  sessionType(session: number): number {
    return this.view.getUint8(this.slot(session) + SESSION_TYPE);
  }

  sessionFrames(session: number): number {
    return this.view.getFloat64(this.slot(session) + SESSION_FRAMES, true);
  }

  sessionPayload(session: number): number {
    return this.view.getFloat64(this.slot(session) + SESSION_PAYLOAD, true);
  }

  /** Copies bytes into the ring at an offset; returns their address. */
  put(bytes: Uint8Array, offset = 0): number {
    const address = this.map.ringBase + offset;
    this.bytes.set(bytes, address);
    return address;
  }

  /** Puts bytes into the ring's start and scans them, with room for every descriptor. */
  scan(bytes: Uint8Array, session = 0, skewSeconds = 0): number {
    const { descriptors } = this.map;
    return this.wasm.scan(
      this.put(bytes),
      bytes.length,
      session,
      0,
      descriptors,
      0,
      TIME,
      skewSeconds,
    );
  }

  #at(seq: number): number {
    return this.map.descriptorBase + ((seq >>> 0) % this.map.descriptors) * DESCRIPTOR_BYTES;
  }

  descriptor(seq: number): DescriptorFields {
    const at = this.#at(seq);
    return {
      address: this.view.getUint32(at + DESCRIPTOR_ADDRESS, true),
      size: this.view.getUint32(at + DESCRIPTOR_SIZE, true),
      session: this.view.getUint32(at + DESCRIPTOR_SESSION, true),
      kind: this.view.getUint8(at + DESCRIPTOR_KIND),
      type: this.view.getUint8(at + DESCRIPTOR_TYPE),
      status: this.view.getUint8(at + DESCRIPTOR_STATUS),
      place: this.view.getUint8(at + DESCRIPTOR_PLACE),
      release: this.view.getUint32(at + DESCRIPTOR_RELEASE, true),
      generation: this.view.getUint32(at + DESCRIPTOR_GENERATION, true),
    };
  }

  /** Writes a descriptor: a pending frame of session 0, but for what `fields` says. */
  describe(seq: number, fields: Partial<DescriptorFields>): void {
    const at = this.#at(seq);
    this.view.setUint32(at + DESCRIPTOR_ADDRESS, fields.address ?? 0, true);
    this.view.setUint32(at + DESCRIPTOR_SIZE, fields.size ?? 0, true);
    this.view.setUint32(at + DESCRIPTOR_SESSION, fields.session ?? 0, true);
    this.view.setUint8(at + DESCRIPTOR_KIND, fields.kind ?? Kind.FRAME);
    this.view.setUint8(at + DESCRIPTOR_TYPE, fields.type ?? 1);
    this.view.setUint8(at + DESCRIPTOR_STATUS, fields.status ?? 0);
    this.view.setUint8(at + DESCRIPTOR_PLACE, fields.place ?? Place.RING);
    this.view.setUint32(at + DESCRIPTOR_RELEASE, fields.release ?? 0, true);
    this.view.setUint32(at + DESCRIPTOR_GENERATION, fields.generation ?? 0, true);
  }

  statusAddress(seq: number): number {
    return this.#at(seq) + DESCRIPTOR_STATUS;
  }
}
