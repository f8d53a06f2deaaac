import type { MemoryMap } from '../ring/layout.js';
import type { RingProducer } from '../ring/producer.js';
import type { RouteTable } from '../route/table.js';
import type { Admission } from '../verify/admission.js';
import type { WasmInstance } from '../wasm/bindings.js';
import type { BlockSource } from './assembly-budget.js';
import type { Origin } from './connection.js';

export interface IntakeOptions {
  memory: WebAssembly.Memory;
  map: MemoryMap;
  producer: RingProducer;
  bindings: WasmInstance;
  blocks: BlockSource;
  admission: Admission;
  routes: RouteTable;
  /** Begins the ids of this process's sessions. */
  idPrefix: string;
  firstFrameTimeoutMs: number;
  /** 0: off. */
  idleTimeoutMs: number;
  /** 0: off. */
  timestampSkewSeconds: number;
  /** Takes what is in the ring at once, where that is done on this thread (`threads: inline`). */
  drainNow?: (() => void) | undefined;
}

/** What may change while it runs. */
export type ChangeableIntake = Pick<
  IntakeOptions,
  'routes' | 'firstFrameTimeoutMs' | 'idleTimeoutMs' | 'timestampSkewSeconds'
>;

export interface IntakeEvents {
  /** A connection ended before it had a session. `sensor`: the one that its header claimed. */
  refused(code: number, origin: Origin, detail: string, sensor?: string): void;
  /** A session ended with a reject that the I/O thread found. */
  rejected(code: number, origin: Origin, detail: string, sensor: string): void;
}
