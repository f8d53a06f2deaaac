import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { GatewayError, messageOf } from '../errors.js';
import { type MemoryMap, WASM_PAGE_BYTES } from '../ring/layout.js';
import { type WasmExports, WasmInstance } from './bindings.js';

export type WasmBuild = 'simd' | 'scalar';

/** A compiled module; it can be sent to another thread, which instantiates it there. */
export interface LoadedModule {
  module: WebAssembly.Module;
  build: WasmBuild;
}

/** Forces a build: `simd` or `scalar`. */
export const WASM_BUILD_VARIABLE = 'D4GW_WASM';

/** From dist/src/wasm/ to dist/wasm/. */
const WASM_DIRECTORY = new URL('../../wasm/', import.meta.url);

// The smallest module with a SIMD instruction: a function that drops a v128 constant's first byte.
//   (module (func i32.const 0  i8x16.splat  i8x16.popcnt  drop))
const SIMD_PROBE = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // magic, version 1
  ...[0x01, 0x04, 0x01, 0x60, 0x00, 0x00], // type: () -> ()
  ...[0x03, 0x02, 0x01, 0x00], // function 0 has type 0
  ...[0x0a, 0x0b, 0x01, 0x09, 0x00], // code: one body of 9 bytes, no locals
  ...[0x41, 0x00, 0xfd, 0x0f, 0xfd, 0x62, 0x1a, 0x0b],
);

/** Whether this engine and processor run the SIMD build. */
export function simdSupported(): boolean {
  return WebAssembly.validate(SIMD_PROBE);
}

/**
 * Reads and compiles the module. `auto` takes the SIMD build where the engine validates it, unless
 * the environment variable D4GW_WASM names a build.
 *
 * @throws GatewayError D4GW_E_WASM: the file is missing or no module; D4GW_WASM is no build
 */
export function loadModule(build: WasmBuild | 'auto' = 'auto'): LoadedModule {
  const chosen = build === 'auto' ? chooseBuild(process.env[WASM_BUILD_VARIABLE]) : build;
  const file = fileURLToPath(new URL(`d4gw.${chosen}.wasm`, WASM_DIRECTORY));
  if (!existsSync(file)) {
    throw new GatewayError('D4GW_E_WASM', `${file} is missing: run "npm run build"`);
  }
  try {
    return { module: new WebAssembly.Module(readFileSync(file)), build: chosen };
  } catch (error) {
    throw new GatewayError('D4GW_E_WASM', `${file} cannot be used: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

/** The build that `auto` takes when the environment variable has this value. */
export function chooseBuild(forced: string | undefined): WasmBuild {
  if (forced === undefined || forced === '' || forced === 'auto') {
    return simdSupported() ? 'simd' : 'scalar';
  }
  if (forced === 'simd' || forced === 'scalar') return forced;
  throw new GatewayError(
    'D4GW_E_WASM',
    `${WASM_BUILD_VARIABLE} is "${forced}": give simd, scalar or auto`,
  );
}

/**
 * The one memory that a worker's threads share, of its final size.
 *
 * @throws GatewayError D4GW_E_WASM where the host does not give that much
 */
export function createMemory(map: Pick<MemoryMap, 'pages'>): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: map.pages, maximum: map.pages, shared: true });
  } catch (error) {
    const bytes = map.pages * WASM_PAGE_BYTES;
    throw new GatewayError(
      'D4GW_E_WASM',
      `the host gives no ${bytes} bytes of shared memory: lower ringBytes or assemblyBytes`,
      { cause: error },
    );
  }
}

/**
 * One thread's instance over the shared memory. No two instances may have one scratch
 * (SCRATCH_PRODUCER and SCRATCH_CONSUMER of ring/layout).
 *
 * @param scratch address of the instance's SCRATCH_BYTES
 * @param maxPayloadBytes frames with more payload are TOO_LARGE, at most 2^32 - 1
 */
export function instantiate(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  scratch: number,
  map: MemoryMap,
  maxPayloadBytes: number,
): WasmInstance {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return new WasmInstance(exports as unknown as WasmExports, memory, scratch, map, maxPayloadBytes);
}
