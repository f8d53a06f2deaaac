import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { FLUSH_MS, InputPayloads, STOP_GRACE_MS } from '../../src/client/stream.js';
import { FakeClock, settled } from './fake-clock.js';

function payloadsOf(input: Readable, bytesMax: number) {
  const clock = new FakeClock();
  let calls = 0;
  const payloads = new InputPayloads(input, { bytesMax, clock, onReady: () => calls++ });
  return { clock, payloads, calls: () => calls };
}

describe('InputPayloads', () => {
  it('gives the bytes in order, full but for the last, whatever the reads were', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 20 }),
        fc.integer({ min: 1, max: 50 }),
        async (parts, bytesMax) => {
          const all = Buffer.concat(parts);
          const { payloads } = payloadsOf(Readable.from(parts, { objectMode: false }), bytesMax);
          const taken: Buffer[] = [];
          while (!payloads.ended) {
            const payload = payloads.take();
            if (payload) taken.push(payload);
            else await new Promise((resolve) => setImmediate(resolve));
          }
          assert.deepEqual(Buffer.concat(taken), all);
          assert.ok(taken.slice(0, -1).every((payload) => payload.length === bytesMax));
        },
      ),
    );
  });

  it('gives a partial payload once it has waited, and not before', async () => {
    const input = new PassThrough();
    const { clock, payloads, calls } = payloadsOf(input, 10);
    input.write('abc');
    await settled();
    clock.advance(FLUSH_MS - 1);
    input.write('d');
    await settled();
    assert.equal(payloads.take(), undefined);
    const before = calls();
    clock.advance(1);
    assert.equal(calls(), before + 1);
    assert.equal(`${payloads.take()}`, 'abcd');
    // The wait begins anew with the next bytes.
    input.write('e');
    await settled();
    clock.advance(FLUSH_MS - 1);
    assert.equal(payloads.take(), undefined);
    clock.advance(1);
    assert.equal(`${payloads.take()}`, 'e');
    assert.equal(clock.pending, 0);
  });

  it('reads no more than a payload and the input buffer while nothing is taken', async () => {
    let made = 0;
    const input = new Readable({
      highWaterMark: 1_000,
      read() {
        made += 100;
        this.push(Buffer.alloc(100));
      },
    });
    const { payloads } = payloadsOf(input, 500);
    await settled();
    assert.ok(made >= 500 && made <= 1_600, `${made} bytes read`);
    assert.equal(payloads.heldBytes, 500);
    input.destroy();
  });

  it('gives, when stopped, what was read before, and reads no more', async () => {
    const input = new PassThrough({ highWaterMark: 64 });
    const { clock, payloads } = payloadsOf(input, 4);
    input.write('abcdefghij');
    await settled();
    payloads.stop();
    input.write('klm'); // within the grace
    clock.advance(STOP_GRACE_MS);
    await settled();
    input.write('too late');
    await settled();
    const taken: string[] = [];
    for (let payload = payloads.take(); payload; payload = payloads.take())
      taken.push(`${payload}`);
    assert.deepEqual(taken, ['abcd', 'efgh', 'ijkl', 'm']);
    assert.ok(payloads.ended);
  });

  it('ends by itself within the grace, as the input does', async () => {
    const input = new PassThrough();
    const { clock, payloads } = payloadsOf(input, 4);
    payloads.stop();
    input.end('xyz');
    await settled();
    assert.equal(`${payloads.take()}`, 'xyz');
    assert.ok(payloads.ended);
    assert.equal(clock.pending, 0);
  });

  it('gives what came before an error of the input, and the error', async () => {
    const input = new PassThrough();
    const { payloads } = payloadsOf(input, 100);
    input.write('abc');
    await settled();
    input.destroy(new Error('gone'));
    await settled();
    assert.equal(`${payloads.take()}`, 'abc');
    assert.ok(payloads.ended);
    assert.equal(payloads.error?.message, 'gone');
  });
});
