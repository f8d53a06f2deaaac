import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { type Running, start } from '../support/process.js';
import { startD4gw } from '../support/program.js';
import { skipUnless } from '../support/require.js';
import { Gateway } from './gateway.js';
import {
  packetsOf,
  Sensor,
  sensorsOf,
  sharedSecret,
  socatAddress,
  until,
  untilLedger,
  uuidOf,
} from './peers.js';

const skip = skipUnless(process.getuid?.() === 0, 'a live capture needs root');
const PACKETS = 300;
const PAYLOAD_BYTES = 200;
const SNAPLEN = 4096;
const PCAP = 1;

/** Datagrams on the loopback interface whose payload begins with their number. */
class Traffic {
  #timer: NodeJS.Timeout | undefined;
  #next = 0;

  private constructor(
    readonly socket: Socket,
    readonly port: number,
  ) {}

  static async begin(): Promise<Traffic> {
    const socket = createSocket('udp4');
    socket.bind(0, '127.0.0.1');
    await once(socket, 'listening');
    const traffic = new Traffic(socket, socket.address().port);
    after(() => traffic.stop());
    return traffic;
  }

  /** Sends until `count` were sent in all. */
  run(count: number): void {
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      if (this.#next === count) {
        clearInterval(this.#timer);
        return;
      }
      const payload = Buffer.alloc(PAYLOAD_BYTES);
      payload.writeUInt32BE(this.#next);
      this.#next += 1;
      this.socket.send(payload, this.port, '127.0.0.1');
    }, 2);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.socket.close();
  }
}

/** A live capture of the traffic, as WIRE.md and the README have it; ends by itself. */
async function tcpdump(traffic: Traffic, feed: (chunk: Buffer) => void): Promise<Running> {
  const filter = `udp and dst port ${traffic.port}`;
  const args = ['-i', 'lo', '-U', '-n', '-c', String(PACKETS), '-w', '-', filter];
  const running = start('tcpdump', args);
  const stdout = running.child.stdout!.setEncoding('latin1');
  stdout.on('data', (text: string) => feed(Buffer.from(text, 'latin1')));
  await running.waitFor(/listening on/, { stream: 'stderr' });
  return running;
}

/** The numbers of the packets in a file: behind Ethernet (14), IPv4 (20) and UDP (8). */
function numbersIn(gateway: Gateway, file: string): number[] {
  const { packets, error } = packetsOf(join(gateway.sensorsDir, file));
  assert.equal(error, undefined, file);
  return packets.map((packet) => packet.readUInt32BE(16 + 14 + 20 + 8));
}

describe('a live capture', { skip }, async () => {
  if (skip) return;
  const sinks = {
    disk: { kind: 'files', dir: './data/sensors', flushMs: 50, rotateBytes: 8_000 },
  };
  const gateway = await Gateway.start(sharedSecret({ sinks }));

  /** Runs a capture into `feed`; reads what is stored while it goes on, and when it is over. */
  async function capture(
    sensor: Sensor,
    feed: (chunk: Buffer) => void,
    end: () => Promise<void>,
  ): Promise<void> {
    const pieces = () => gateway.files().filter((file) => file.startsWith(`${sensor.hex}/`));
    const finished = () => pieces().filter((file) => file.endsWith('.cap'));
    const traffic = await Traffic.begin();
    const running = await tcpdump(traffic, feed);
    traffic.run(PACKETS / 2);
    await until(() => finished().length > 0, 'a first piece');
    const early = finished()[0]!;
    const first = numbersIn(gateway, early);
    assert.ok(first.length > 0 && first.length < PACKETS);
    traffic.run(PACKETS);
    const { code } = await running.exit();
    assert.equal(code, 0, running.stderr);
    await end();
    const report = await untilLedger(
      gateway,
      (now) => sensorsOf(now, sensor.uuid)[0]?.ends.closed === 1,
      'the session is over',
    );
    assert.deepEqual(sensorsOf(report, sensor.uuid)[0]!.rejected, {});
    const numbers = pieces().flatMap((file) => numbersIn(gateway, file));
    assert.deepEqual(
      numbers,
      Array.from({ length: PACKETS }, (_, index) => index),
    );
    assert.ok(pieces().length > 3, 'in several pieces');
  }

  test('through the client', async () => {
    const sensor = new Sensor(uuidOf(1), PCAP);
    const to = `127.0.0.1:${gateway.tlsPort}`;
    const args = ['client', '-c', sensor.clientDirectory(), '--to', to, '--ca', gateway.certFile];
    const client = startD4gw(args, { input: 'pipe' });
    await capture(
      sensor,
      (chunk) => client.child.stdin!.write(chunk),
      async () => {
        client.child.stdin!.end();
        const { code } = await client.exit();
        assert.equal(code, 0, client.stderr);
      },
    );
  });

  test('as the C client frames it, through socat', async () => {
    const sensor = new Sensor(uuidOf(2), PCAP);
    const socat = start('socat', ['-u', '-', socatAddress(gateway, 'tls')], { input: 'pipe' });
    const stdin = socat.child.stdin!;
    await capture(
      sensor,
      (chunk) => {
        // One frame a read, of at most the snaplen.
        for (let at = 0; at < chunk.length; at += SNAPLEN) {
          stdin.write(sensor.frame(chunk.subarray(at, at + SNAPLEN)));
        }
      },
      async () => {
        stdin.end(sensor.frame(''));
        const { code } = await socat.exit();
        assert.equal(code, 0, socat.stderr);
      },
    );
  });

  test('and nothing alarmed', async () => {
    assert.deepEqual(gateway.logged('rejected'), []);
    assert.equal(await gateway.stop(), 0);
  });
});
