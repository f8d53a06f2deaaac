import * as crypto from 'node:crypto';
import {
  DESCRIPTOR_ADDRESS,
  DESCRIPTOR_BYTES,
  DESCRIPTOR_KIND,
  DESCRIPTOR_SIZE,
  DESCRIPTOR_STATUS,
  FrameStatus,
  GUARD_BYTES,
  Kind,
  mapMemory,
  SCRATCH_CONSUMER,
  SCRATCH_PRODUCER,
} from '../../src/ring/layout.js';
import { holdsInPlace, oneShotHash } from '../../src/verify/in-place.js';
import { SessionKey } from '../../src/verify/session-key.js';
import { createMemory, instantiate, loadModule } from '../../src/wasm/loader.js';
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

/** The frames in a shared memory, with room before the first for a key's pad. */
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
    ringBytes: 2 ** Math.ceil(Math.log2(GUARD_BYTES + count * frameBytes)),
    assemblyBytes: 4096,
    poolBytes: 4096,
  });
  const memory = createMemory(map);
  const bytes = Buffer.from(memory.buffer);
  const base = map.ringBase + GUARD_BYTES;
  cycle.copy(bytes, base, 0, count * frameBytes);
  const addresses = Array.from({ length: count }, (_, index) => base + index * frameBytes);
  return { memory, bytes, map, addresses, payloadBytes, key };
}

/** The way one would first write it. */
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

/**
 * As the gateway verifies the frames above its crossover: one call of `crypto.hash`, which Node 20.12
 * and 21.7 brought, over the frame where it lies, with the key's pad before it for the moment.
 */
function inPlaceWay({ memory, map, bytes, addresses, payloadBytes }: Frames): Pass | undefined {
  const hash = oneShotHash;
  if (hash === null) return undefined;
  const wasm = instantiate(loadModule().module, memory, SCRATCH_PRODUCER, map, 2 * MEGABYTE);
  wasm.setKey(0, key);
  return () => {
    let held = 0;
    for (const address of addresses) {
      if (holdsInPlace(wasm, bytes, 0, address, payloadBytes, hash)) held += 1;
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
  const inPlace = inPlaceWay(frames);
  const ways = {
    createHmac: createHmacWay(frames),
    ...(inPlace ? { inPlace } : {}),
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
