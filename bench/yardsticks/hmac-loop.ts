import * as crypto from 'node:crypto';
import {
  DESCRIPTOR_ADDRESS,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_KIND,
  DESCRIPTOR_SIZE,
  DESCRIPTOR_STATUS,
  FrameStatus,
  Kind,
  mapMemory,
  SCRATCH_CONSUMER,
} from '../../src/ring/layout.js';
import { SessionKey } from '../../src/verify/session-key.js';
import { createMemory, instantiate, loadModule } from '../../src/wasm/loader.js';
import { HEADER_BYTES, HMAC_BYTES, OFFSET_HMAC } from '../../src/wire/layout.js';
import { makeStream, payloadOf, sensorUuid } from '../load/frames.js';
import { serveCalls } from '../proc/rpc.js';

/**
 * The bare part "HMAC": frames as the load sends them, in memory, verified over and over by each way
 * there is. The set fits the cache, as what has just been read from a socket does.
 */
const SET_BYTES = 512 * 1024;
const MEGABYTE = 1_000_000;

export interface HmacParams {
  payloadBytes: number;
  /** CPU time given to each way. */
  milliseconds: number;
}

/** Payload gigabits a second of CPU, by way; a way that this Node has not is absent. */
export type HmacResult = Record<string, number>;

interface Frames {
  memory: WebAssembly.Memory;
  bytes: Buffer;
  map: ReturnType<typeof mapMemory>;
  addresses: number[];
  payloadBytes: number;
  key: Buffer;
}

/** One pass over all frames; returns how many held. */
type Pass = () => number;

const key = crypto.randomBytes(32);
const sets = new Map<number, { frames: Frames; ways: Record<string, Pass> }>();

/** The frames in a shared memory, 64 bytes of room before each (for `hashWay`). */
function makeFrames(payloadBytes: number): Frames {
  const secret = crypto.createSecretKey(key);
  const payload = payloadOf('jsonl', payloadBytes, 16);
  const { cycle, frameBytes } = makeStream(payload, payloadBytes, sensorUuid(0), secret);
  const count = Math.max(
    1,
    Math.min(Math.floor(SET_BYTES / frameBytes), cycle.length / frameBytes),
  );
  const map = mapMemory({
    sessions: 1,
    descriptors: 2 ** Math.ceil(Math.log2(Math.max(count, 2))),
    ringBytes: 2 ** Math.ceil(Math.log2(BLOCK_BYTES + count * frameBytes)),
    assemblyBytes: 4096,
    poolBytes: 4096,
  });
  const memory = createMemory(map);
  const bytes = Buffer.from(memory.buffer);
  const base = map.ringBase + BLOCK_BYTES;
  cycle.copy(bytes, base, 0, count * frameBytes);
  const addresses = Array.from({ length: count }, (_, index) => base + index * frameBytes);
  return { memory, bytes, map, addresses, payloadBytes, key };
}

/** As the gateway verifies the frames above its crossover. */
function createHmacWay({ bytes, addresses, payloadBytes }: Frames): Pass {
  const sessionKey = new SessionKey({ current: key, previous: undefined });
  return () => {
    let held = 0;
    for (const address of addresses) {
      if (sessionKey.verify(bytes, address, payloadBytes)) held += 1;
    }
    return held;
  };
}

/** SHA-256's block. */
const BLOCK_BYTES = 64;

/**
 * Two one-shot hashes: the inner pad is laid for the moment into the 64 bytes before the frame, and
 * the HMAC field zeroed; both are restored. Node 20.12 and 21.7 brought `crypto.hash`.
 */
function hashWay({ bytes, addresses, payloadBytes }: Frames): Pass | undefined {
  const { hash } = crypto as { hash?: typeof crypto.hash };
  if (hash === undefined) return undefined;
  const pads = [0x36, 0x5c].map((pad) => {
    const block = Buffer.alloc(BLOCK_BYTES, pad);
    for (const [index, byte] of key.entries()) block[index] = pad ^ byte;
    return block;
  });
  const [inner, outerPad] = pads as [Buffer, Buffer];
  const outer = Buffer.concat([outerPad, Buffer.alloc(HMAC_BYTES)]);
  const kept = Buffer.alloc(BLOCK_BYTES);
  const sent = Buffer.alloc(HMAC_BYTES);
  return () => {
    let held = 0;
    for (const address of addresses) {
      const hmacAt = address + OFFSET_HMAC;
      bytes.copy(kept, 0, address - BLOCK_BYTES, address);
      bytes.copy(sent, 0, hmacAt, hmacAt + HMAC_BYTES);
      inner.copy(bytes, address - BLOCK_BYTES);
      bytes.fill(0, hmacAt, hmacAt + HMAC_BYTES);
      const end = address + HEADER_BYTES + payloadBytes;
      hash('sha256', bytes.subarray(address - BLOCK_BYTES, end), 'buffer').copy(outer, BLOCK_BYTES);
      kept.copy(bytes, address - BLOCK_BYTES);
      sent.copy(bytes, hmacAt);
      if (crypto.timingSafeEqual(hash('sha256', outer, 'buffer'), sent)) held += 1;
    }
    return held;
  };
}

/** The module's batch, over descriptors, as the sink thread calls it. */
function wasmWay(build: 'simd' | 'scalar', frames: Frames): Pass {
  const { memory, map, bytes, addresses, payloadBytes } = frames;
  const wasm = instantiate(loadModule(build).module, memory, SCRATCH_CONSUMER, map, 2 * MEGABYTE);
  wasm.setKey(0, key);
  const at = (index: number) => map.descriptorBase + index * DESCRIPTOR_BYTES;
  for (const [index, address] of addresses.entries()) {
    bytes.fill(0, at(index), at(index) + DESCRIPTOR_BYTES);
    bytes.writeUInt32LE(address, at(index) + DESCRIPTOR_ADDRESS);
    bytes.writeUInt32LE(payloadBytes, at(index) + DESCRIPTOR_SIZE);
    bytes[at(index) + DESCRIPTOR_KIND] = Kind.FRAME;
  }
  return () => {
    for (const index of addresses.keys())
      bytes[at(index) + DESCRIPTOR_STATUS] = FrameStatus.PENDING;
    wasm.verify(0, addresses.length, 2 ** 32 - 1);
    let held = 0;
    for (const index of addresses.keys()) {
      if (bytes[at(index) + DESCRIPTOR_STATUS] === FrameStatus.VERIFIED) held += 1;
    }
    return held;
  };
}

function waysFor(payloadBytes: number) {
  const known = sets.get(payloadBytes);
  if (known) return known;
  const frames = makeFrames(payloadBytes);
  const hash = hashWay(frames);
  const ways = {
    createHmac: createHmacWay(frames),
    ...(hash ? { hash } : {}),
    simd: wasmWay('simd', frames),
    scalar: wasmWay('scalar', frames),
  };
  const made = { frames, ways };
  sets.set(payloadBytes, made);
  return made;
}

function measure({ payloadBytes, milliseconds }: HmacParams): HmacResult {
  const { frames, ways } = waysFor(payloadBytes);
  const bits = frames.addresses.length * payloadBytes * 8;
  const result: HmacResult = {};
  for (const [name, pass] of Object.entries(ways)) {
    // The first passes compile.
    check(name, pass, frames);
    const before = process.cpuUsage();
    let passes = 0;
    let spent = 0;
    do {
      pass();
      passes += 1;
      const { user, system } = process.cpuUsage(before);
      spent = (user + system) / 1e6;
    } while (spent * 1000 < milliseconds);
    check(name, pass, frames);
    result[name] = (bits * passes) / spent / 1e9;
  }
  return result;
}

/** A loop that found a frame not to hold measured something else. */
function check(name: string, pass: Pass, { addresses }: Frames): void {
  const held = pass();
  if (held !== addresses.length) {
    throw new Error(`${name}: ${held} of ${addresses.length} frames held`);
  }
}

serveCalls({ measure });
