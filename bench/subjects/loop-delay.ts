import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { treePids } from '../proc/tree.js';

const PROBE = new URL('../probe/loop-delay.js', import.meta.url);
const ANSWER_DEADLINE_MS = 1_000;
const POLL_MS = 5;

/**
 * Asks the event loops of a program's processes how late they were. The program is not changed: a
 * module loaded before it measures, and answers a signal with a file.
 */
export class LoopDelayProbe {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true });
  }

  /** For the environment of the program. */
  get env(): Record<string, string> {
    const before = process.env.NODE_OPTIONS ?? '';
    return {
      D4GW_BENCH_PROBE_DIR: this.#dir,
      NODE_OPTIONS: `${before} --import=${PROBE.href}`.trim(),
    };
  }

  /**
   * @param root the program's first process
   * @returns milliseconds that 99 of 100 turns stayed under since the last call, of the worst process; null
   * when none has answered in time.
   */
  async read(root: number): Promise<number | null> {
    // Of the files' pids only those that descend from the root: a number may be used again.
    const tree = treePids(root);
    const pids = this.#pids().filter((pid) => tree.includes(pid));
    for (const pid of pids) rmSync(this.#answer(pid), { force: true });
    const asked = pids.filter((pid) => signal(pid));
    const waiting = new Set(asked);
    const delays: number[] = [];
    const deadline = Date.now() + ANSWER_DEADLINE_MS;
    while (waiting.size > 0 && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      for (const pid of waiting) {
        const delay = this.#take(pid);
        if (delay === undefined) continue;
        delays.push(delay);
        waiting.delete(pid);
      }
    }
    return delays.length === 0 ? null : Math.max(...delays);
  }

  /** Processes that have said that they answer: the signal would end any other. */
  #pids(): number[] {
    return readdirSync(this.#dir)
      .filter((name) => name.endsWith('.ready'))
      .map((name) => Number.parseInt(name, 10));
  }

  #answer(pid: number): string {
    return join(this.#dir, `${pid}.p99`);
  }

  #take(pid: number): number | undefined {
    try {
      return Number(readFileSync(this.#answer(pid), 'utf8'));
    } catch {
      return undefined;
    }
  }
}

function signal(pid: number): boolean {
  try {
    process.kill(pid, 'SIGUSR2');
    return true;
  } catch {
    return false;
  }
}
