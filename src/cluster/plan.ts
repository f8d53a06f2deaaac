import { availableParallelism } from 'node:os';
import type { Config } from '../config/schema.js';
import { DESCRIPTORS, SPARE_SESSIONS } from '../constants.js';
import { assemblyBlockBytes } from '../ring/assembly-block.js';
import { type MemoryMap, mapMemory } from '../ring/layout.js';

/** How many processes and threads serve, and how each worker's memory is divided. */
export interface Plan {
  workers: number;
  threads: 'pipelined' | 'inline';
}

/**
 * `workers: auto` is one a core. `threads: auto` pipelines where a worker has a second core to
 * itself, which with one worker a core it has not.
 */
export function planProcesses(config: Pick<Config, 'workers' | 'threads'>): Plan {
  const cores = availableParallelism();
  const workers = config.workers === 'auto' ? cores : config.workers;
  const spare = cores >= 2 * workers;
  const threads = config.threads === 'auto' ? (spare ? 'pipelined' : 'inline') : config.threads;
  return { workers, threads };
}

/** At least so many of the largest frames can be under assembly in each worker. */
const ASSEMBLY_FRAMES_MIN = 4;
/** The least that a worker's sinks get to fill and write. */
const POOL_BYTES_MIN = 16 * 1024 * 1024;

/** A worker's share of the configured budgets. */
export function planMemory(limits: Config['limits'], workers: number): MemoryMap {
  const share = (bytes: number, least: number) => {
    const part = Math.max(Math.floor(bytes / workers), least);
    return Math.ceil(part / 65_536) * 65_536;
  };
  return mapMemory({
    sessions: limits.maxConnections + SPARE_SESSIONS,
    descriptors: DESCRIPTORS,
    ringBytes: limits.ringBytes,
    assemblyBytes: share(
      limits.assemblyBytes,
      assemblyBlockBytes(limits.maxPayloadBytes) * ASSEMBLY_FRAMES_MIN,
    ),
    poolBytes: share(limits.poolBytes, POOL_BYTES_MIN),
  });
}
