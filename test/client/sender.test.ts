import assert from 'node:assert/strict';
import { createSecretKey } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { describe, it } from 'node:test';
import { Sender, type SenderOptions } from '../../src/client/sender.js';
import { CertificateError } from '../../src/net/connection-error.js';
import { FakeClock, settled } from './fake-clock.js';
import { FakeConnection } from './fake-connection.js';

const KEY = 'not to be seen';

function sending(options: Partial<SenderOptions> = {}) {
  const clock = new FakeClock();
  const input = new PassThrough();
  const connections: FakeConnection[] = [];
  const lines: string[] = [];
  const sender = new Sender({
    uuid: '3a9f1c52-6d0e-4b7a-9c41-5e2f8b7d0a13',
    key: createSecretKey(Buffer.from(KEY)),
    type: 3,
    snaplenBytes: 4,
    input,
    targetName: 'tls://server:4443',
    connect: (events) => {
      const connection = new FakeConnection(events);
      connections.push(connection);
      return connection;
    },
    isNetwork: true,
    once: false,
    clock,
    say: (line) => lines.push(line),
    ...options,
  });
  const ended = sender.run();
  ended.catch(() => {}); // each test awaits it, perhaps after it failed
  const last = () => connections.at(-1) as FakeConnection;
  /** Input, given to the sender as far as it takes it. */
  const write = async (text: string) => {
    input.write(text);
    await settled();
  };
  return { sender, clock, input, connections, lines, ended, last, write };
}

describe('Sender', () => {
  it('sends input as it comes, then one empty frame and the end', async () => {
    const { input, last, ended, write, clock } = sending();
    last().open();
    await write('abcdef');
    assert.deepEqual(last().frames, ['3:abcd']);
    clock.advance(200);
    assert.deepEqual(last().frames, ['3:abcd', '3:ef']);
    input.end('g');
    await settled();
    assert.deepEqual(last().frames, ['3:abcd', '3:ef', '3:g', '3:']);
    assert.ok(last().isEnded);
    last().flush();
    last().close();
    await ended;
    assert.equal(clock.pending, 0, 'no timer is left');
    assert.ok(input.destroyed);
  });

  it('sends one empty frame for empty input', async () => {
    const { input, last, ended } = sending();
    input.end();
    last().open();
    await settled();
    assert.deepEqual(last().frames, ['3:']);
    last().flush();
    last().close();
    await ended;
  });

  it('reads nothing before it is connected, and nothing while the server does not keep up', async () => {
    const { last, input, write } = sending();
    await write('a'.repeat(4_000));
    const held = input.readableLength;
    assert.ok(held >= 3_990, `${held} of 4000 bytes wait in the input`);
    last().isFull = true;
    last().open();
    await settled();
    assert.deepEqual(last().frames, []);
    last().drain();
    await settled();
    assert.equal(last().frames.length, 1_000);
  });

  it('goes on at the start of the line that was cut', async () => {
    const { last, connections, write, clock, input, ended } = sending();
    last().open();
    await write('one\ntwo\nthree\n');
    clock.advance(200);
    assert.deepEqual(last().frames, ['3:one\n', '3:two\n', '3:thre', '3:e\n']);
    last().flush(3);
    last().close(new Error('reset'));
    clock.advance(500);
    assert.equal(connections.length, 2);
    last().open();
    assert.deepEqual(last().frames, ['3:thre', '3:e\n']);
    input.end('4');
    await settled();
    last().flush();
    last().close();
    await ended;
    assert.deepEqual(last().frames, ['3:thre', '3:e\n', '3:4', '3:']);
  });

  it('sends the last frame again where the connection broke before it was out', async () => {
    const { last, clock, input, ended } = sending();
    last().open();
    input.end('end');
    await settled();
    last().flush(1);
    last().close(new Error('reset'));
    clock.advance(500);
    last().open();
    assert.deepEqual(last().frames, ['3:end', '3:']);
    assert.ok(last().isEnded);
    last().flush();
    last().close();
    await ended;
  });

  it('sends the meta header first, on each connection, cut to the snaplen', async () => {
    const { last, clock, write } = sending({ type: 254, metaHeader: Buffer.from('{"type"') });
    last().open();
    await write('1\n2\n');
    assert.deepEqual(last().frames, ['2:{"ty', '2:pe"', '254:1\n2\n']);
    last().flush();
    last().close(new Error('reset'));
    clock.advance(500);
    last().open();
    await write('3456');
    assert.deepEqual(last().frames, ['2:{"ty', '2:pe"', '254:3456']);
  });

  it('begins a second connection with the file header of a capture', async () => {
    const header = Buffer.from('d4c3b2a1020004000000000000000000ffff000001000000', 'hex');
    const record = Buffer.from('0000000000000000020000000200000001ff', 'hex');
    const { last, clock, input } = sending({ type: 1, snaplenBytes: 100 });
    last().open();
    input.write(Buffer.concat([header, record, record.subarray(0, 17)]));
    await settled();
    clock.advance(200);
    last().flush();
    last().close(new Error('reset'));
    clock.advance(500);
    last().open();
    input.write(record.subarray(17));
    await settled();
    clock.advance(200);
    const payload = last().frames.map((frame) => frame.slice(2));
    assert.equal(payload.join(''), `${header}${record}`);
  });

  it('waits longer after each failure, says so once, and starts afresh after a lasting one', async () => {
    const { last, connections, clock, lines } = sending();
    const waits: number[] = [];
    for (let attempt = 0; attempt < 10; attempt++) {
      const count = connections.length;
      last().close(new Error('connect ECONNREFUSED'));
      let waited = 0;
      for (; connections.length === count; waited += 50) clock.advance(50);
      waits.push(waited);
    }
    for (const [attempt, waited] of waits.entries()) {
      const ceiling = Math.min(30_000, 500 * 2 ** attempt);
      assert.ok(waited >= ceiling / 2 && waited <= ceiling + 50, `${waited} ms at ${attempt}`);
    }
    assert.equal(lines.length, 2, lines.join('\n'));
    assert.match(lines[0]!, /no connection to tls:\/\/server:4443: connect ECONNREFUSED/);
    assert.match(lines[1]!, /is this sensor added and approved/);
    last().open();
    clock.advance(5_000);
    assert.match(lines[2]!, /again after \d+ s/);
    last().close(new Error('reset'));
    clock.advance(500);
    assert.equal(connections.length, 12);
    assert.equal(lines.length, 4);
    assert.doesNotMatch(lines.join('\n'), new RegExp(KEY));
  });

  it('does not begin anew with short waits when the server ends each connection', () => {
    const { last, connections, clock, lines } = sending();
    for (let attempt = 0; attempt < 20; attempt++) {
      last().open();
      clock.advance(1_000);
      last().close(new Error('the server closed it'));
      clock.advance(30_000);
    }
    assert.equal(connections.length, 21);
    last().open();
    last().close(new Error('the server closed it'));
    clock.advance(14_999);
    assert.equal(connections.length, 21);
    assert.equal(lines.length, 2);
  });

  it('says who it is on a connection without input', async () => {
    const { last, clock, write } = sending();
    last().open();
    clock.advance(9_999);
    assert.deepEqual(last().frames, []);
    clock.advance(1);
    assert.deepEqual(last().frames, ['3:']);
    clock.advance(60_000);
    await write('abcd');
    assert.deepEqual(last().frames, ['3:', '3:abcd']);
  });

  it('fails at once for a refused certificate, and tries on where one was taken before', async () => {
    const refused = new CertificateError('self-signed');
    const { last, ended } = sending();
    last().close(refused);
    await assert.rejects(ended, {
      code: 'D4GW_E_CERTIFICATE',
      message: /server:4443: self-signed/,
    });

    const second = sending();
    second.last().open();
    second.clock.advance(5_000);
    second.last().close(new Error('reset'));
    second.clock.advance(500);
    second.last().close(refused);
    second.clock.advance(1_000);
    assert.equal(second.connections.length, 3);
  });

  it('fails at the first lost connection with --once, and for a local stream', async () => {
    for (const options of [{ once: true }, { isNetwork: false }]) {
      const { last, ended } = sending(options);
      last().open();
      last().close(new Error('reset'));
      await assert.rejects(ended, { code: 'D4GW_E_CLIENT', message: /server:4443: reset/ });
    }
  });

  it('fails where the connection breaks while the server should have taken the last frame', async () => {
    const { last, ended, input } = sending();
    last().open();
    input.end('a');
    await settled();
    last().flush();
    last().close(new Error('read ECONNRESET'));
    await assert.rejects(ended, { code: 'D4GW_E_CLIENT', message: /may not have taken all/ });
  });

  it('sends what was read when stopped, and ends', async () => {
    const { sender, last, ended, write, clock } = sending();
    last().open();
    await write('abcdef');
    sender.stop();
    clock.advance(500);
    assert.deepEqual(last().frames, ['3:abcd', '3:ef', '3:']);
    last().flush();
    last().close();
    await ended;
  });

  it('ends at once when stopped without a connection and without input', async () => {
    const { sender, ended, clock } = sending();
    sender.stop();
    clock.advance(500);
    await ended;
    assert.equal(clock.pending, 0);
  });

  it('gives up, with what is left, some time after a stop or the end of input', async () => {
    const stopped = sending();
    await stopped.write('abcdef');
    stopped.sender.stop();
    stopped.clock.advance(10_000);
    const left = (ms: number, bytes: number) => ({
      code: 'D4GW_E_CLIENT',
      message: new RegExp(`${ms / 1000} s after .*: ${bytes} bytes left`),
    });
    await assert.rejects(stopped.ended, left(10_000, 6));

    const { last, input, ended, clock } = sending();
    last().open();
    input.end('abcdef');
    await settled();
    last().close(new Error('reset'));
    clock.advance(60_000);
    await assert.rejects(ended, left(60_000, 6));
  });

  it('sends what came before an error of the input, and then fails', async () => {
    const { last, input, ended, write } = sending();
    last().open();
    await write('ab');
    input.destroy(new Error('read EIO'));
    await settled();
    assert.deepEqual(last().frames, ['3:ab', '3:']);
    last().flush();
    last().close();
    await assert.rejects(ended, { code: 'D4GW_E_CLIENT', message: /input failed: read EIO/ });
  });
});
