import type { TestEvent as NodeTestEvent } from 'node:test/reporters';
import { inspect } from 'node:util';

/** One finished test, as `test/run.ts` reads it: a line of JSON each. */
export interface TestRecord {
  name: string;
  /** 0 for a test that stands in no suite or test. */
  nesting: number;
  outcome: 'passed' | 'failed' | 'skipped';
  suite: boolean;
  /** Failed only because a test within did. */
  byChild: boolean;
  durationMs: number;
  /** Why it failed, in full, or why it was skipped. */
  text: string;
}

/** A reporter for `node --test-reporter`: every finished test and suite as a line of JSON. */
export default async function* reporter(
  events: AsyncIterable<NodeTestEvent>,
): AsyncGenerator<string> {
  for await (const event of events) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    yield `${JSON.stringify(recordOf(event))}\n`;
  }
}

type Finished = Extract<NodeTestEvent, { type: 'test:pass' | 'test:fail' }>;

function recordOf({ type, data }: Finished): TestRecord {
  const left = data.skip ?? data.todo;
  const skipped = left !== undefined && left !== false;
  const error = type === 'test:fail' ? (data.details.error as TestError) : undefined;
  return {
    name: data.name,
    nesting: data.nesting,
    outcome: skipped ? 'skipped' : error === undefined ? 'passed' : 'failed',
    suite: data.details.type === 'suite',
    byChild: error?.failureType === 'subtestsFailed',
    durationMs: data.details.duration_ms,
    text: skipped ? String(left === true ? '' : left) : error ? errorText(error) : '',
  };
}

interface TestError extends Error {
  failureType?: string;
}

/** Node wraps what a test threw; the wrapper says nothing that the cause does not. */
function errorText(error: TestError): string {
  const cause = error.cause ?? error;
  const text = typeof cause === 'string' ? cause : inspect(cause, { depth: 8 });
  return text.replace(/^ +at .*\bnode:(internal|async_hooks).*\n?/gm, '');
}
