import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pino } from 'pino';
import {
  LINES_PER_WINDOW_MAX,
  RateLimitedLog,
  REASONS_MAX,
  WINDOW_MS,
} from '../../src/log/rate.js';

/** A log on a clock that the test moves. */
function fixture() {
  const lines: { level: string; reason: string; msg: string; more?: number }[] = [];
  const log = pino(
    { formatters: { level: (level) => ({ level }) }, base: null, timestamp: false },
    { write: (line: string) => lines.push(JSON.parse(line)) },
  );
  const timers = new Set<{ at: number; run: () => void }>();
  let now = 0;
  const limited = new RateLimitedLog(log, {
    schedule: (run, ms) => {
      const timer = { at: now + ms, run };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  });
  const pass = (ms: number) => {
    now += ms;
    for (const timer of [...timers]) {
      if (timer.at > now) continue;
      timers.delete(timer);
      timer.run();
    }
  };
  const warn = (reason: string, times: number) => {
    for (let n = 0; n < times; n++) limited.warn(reason, { n }, `${reason} ${n}`);
  };
  return { lines, limited, timers, pass, warn };
}

describe('RateLimitedLog', () => {
  it('writes the first lines of a reason, then their number when the window ends', () => {
    const { lines, pass, warn, timers } = fixture();
    warn('bad-hmac', LINES_PER_WINDOW_MAX + 3);
    warn('idle', 1);
    assert.deepEqual(
      lines.map(({ reason }) => reason),
      [...Array(LINES_PER_WINDOW_MAX).fill('bad-hmac'), 'idle'],
    );
    pass(WINDOW_MS - 1);
    assert.equal(lines.length, LINES_PER_WINDOW_MAX + 1);
    pass(1);
    assert.deepEqual(lines.slice(LINES_PER_WINDOW_MAX + 1), [
      { level: 'warn', reason: 'bad-hmac', more: 3, msg: '3 more in the last 10 s' },
    ]);
    assert.equal(timers.size, 0);
    warn('bad-hmac', 1);
    assert.equal(lines.at(-1)?.msg, 'bad-hmac 0');
  });

  it('every line is written or counted, whatever comes when', () => {
    const { lines, limited, pass, warn } = fixture();
    let sent = 0;
    for (let step = 0; step < 300; step++) {
      const times = (step * 7) % 11;
      warn(`reason-${step % 5}`, times);
      sent += times;
      pass((step * 997) % 4000);
    }
    limited.close();
    const told = lines.reduce((total, { more }) => total + (more ?? 1), 0);
    assert.equal(told, sent);
    assert(lines.length < sent);
  });

  it('holds a bounded number of reasons: those beyond share one', () => {
    const { lines, limited, timers } = fixture();
    for (let n = 0; n < 10 * REASONS_MAX; n++) limited.info(`reason-${n}`, {}, 'text');
    assert(timers.size <= REASONS_MAX + 1);
    assert.equal(lines.length, REASONS_MAX + LINES_PER_WINDOW_MAX);
    limited.close();
    assert.equal(timers.size, 0);
    assert.deepEqual(lines.at(-1), {
      level: 'info',
      reason: 'other',
      more: 9 * REASONS_MAX - LINES_PER_WINDOW_MAX,
      msg: `${9 * REASONS_MAX - LINES_PER_WINDOW_MAX} more in the last 10 s`,
    });
  });
});
