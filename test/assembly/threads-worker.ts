import { parentPort, workerData } from 'node:worker_threads';
import type { MemoryMap } from '../../src/ring/layout.js';
import { instantiate } from '../../src/wasm/loader.js';
import { checkRound, type Share } from './threads-round.js';

/** Works on its share of the memory until told to stop; posts the rounds it did, or its fault. */
const { module, memory, map, share, stop } = workerData as {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  map: MemoryMap;
  share: Share;
  stop: Int32Array;
};

let rounds = 0;
let fault: string | undefined;
const wasm = instantiate(module, memory, share.scratch, map, 1_000_000);
parentPort?.postMessage({ started: true });
while (fault === undefined && Atomics.load(stop, 0) === 0) {
  fault = checkRound(wasm, map, share);
  rounds += 1;
}
parentPort?.postMessage({ rounds, fault });
