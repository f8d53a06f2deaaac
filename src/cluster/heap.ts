import { setFlagsFromString } from 'node:v8';

/**
 * Keeps a process's young generation at its first size, 1 MiB. What the data path allocates is
 * little and dies at once, so nothing is gained by letting it grow to 16 MiB, which V8 does as soon
 * as some connections come: that was a fifth of the memory that an idle connection took.
 */
const YOUNG_GENERATION_MIB = 1;

/** For a process that is to be started. */
export const SMALL_YOUNG_GENERATION = `--max-semi-space-size=${YOUNG_GENERATION_MIB}`;

/** For this process: before it has loaded much, for what has grown stays. */
export function keepYoungGenerationSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}
