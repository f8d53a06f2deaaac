import { AssertionError } from 'node:assert/strict';

/**
 * Ends the program's run for a programmer's error, never for what the outside world does. Unlike
 * `assert.ok` it costs no more than its condition, so it stays on in the hot path.
 */
export function assert(holds: boolean, law: string): asserts holds {
  if (!holds) throw new AssertionError({ message: law, stackStartFn: assert });
}

/** Whether `value` is a power of two that a u32 position can be masked with (1 to 2^31). */
export function isPowerOfTwo(value: number): boolean {
  const inRange = Number.isInteger(value) && value >= 1 && value <= 2 ** 31;
  return inRange && (value & (value - 1)) === 0;
}
