import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { ResendWindow } from '../../src/client/window.js';
import { trackerOf } from '../../src/streams/boundary.js';

/** What the window is asked to do, in any order. */
const step = fc.oneof(
  { weight: 5, arbitrary: fc.constant('push' as const) },
  { weight: 5, arbitrary: fc.constant('next' as const) },
  { weight: 4, arbitrary: fc.constant('flushed' as const) },
  { weight: 1, arbitrary: fc.constant('cut' as const) },
);

describe('ResendWindow', () => {
  it('brings every line once and whole, however often the connection is cut', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('a', 'bc', 'd\n', '\n', 'e\nf', ''), { maxLength: 60 }),
        fc.array(step, { maxLength: 300 }),
        (payloads, steps) => {
          const window = new ResendWindow(trackerOf(3));
          const input = payloads.map((text) => Buffer.from(text));
          const text = payloads.join('');
          let received = ''; // whole lines of the connections before
          let connection = '';
          let given: Buffer[] = []; // in the socket
          window.rewind();
          const cut = () => {
            received += connection.slice(0, connection.lastIndexOf('\n') + 1);
            connection = '';
            given = [];
            assert.deepEqual(window.rewind(), []);
          };
          const run = (name: 'push' | 'next' | 'flushed' | 'cut') => {
            if (name === 'push') {
              const payload = input.shift();
              if (payload) window.push(payload);
            } else if (name === 'next') {
              const payload = window.next();
              if (payload) given.push(payload);
            } else if (name === 'flushed') {
              const payload = given.shift();
              if (payload) {
                connection += payload;
                window.flushed();
              }
            } else cut();
          };
          for (const name of steps) run(name);
          while (input.length > 0) run('push');
          for (let payload = window.next(); payload; payload = window.next()) given.push(payload);
          while (given.length > 0) run('flushed');
          assert.equal(received + connection, text);
          assert.ok(window.isFlushed);
          assert.equal(window.unsentBytes, 0);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  it('holds no more than its limit of a record that does not end', () => {
    const window = new ResendWindow(trackerOf(3), 10_000);
    let bytes = 0;
    for (let index = 0; index < 1_000; index++) {
      window.push(Buffer.alloc(100));
      window.next();
      window.flushed();
      bytes += 100;
    }
    window.push(Buffer.from('!'));
    window.rewind();
    let again = 0;
    for (let payload = window.next(); payload; payload = window.next()) again += payload.length;
    assert.ok(again > 1 && again <= 10_000, `${again} of ${bytes} bytes again`);
  });
});
