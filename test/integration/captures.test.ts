import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, test } from 'node:test';
import { d4gw } from '../support/program.js';
import { captures, skipWithoutShared } from '../support/shared.js';
import { Gateway } from './gateway.js';
import { packetsOf, Sensor, sharedSecret, untilLedger, uuidOf } from './peers.js';

/** Small, so that nearly every capture is cut; larger than the file header. */
const ROTATE_BYTES = 300;
const CLIENTS = 3;
const PCAP = 1;
const PCAPNG = 5;
const SECTION = 0x0a0d0d0a;
const BYTE_ORDER = 0x1a2b3c4d;
/** Packet (obsolete), simple packet, enhanced packet. */
const PACKET_BLOCKS: readonly number[] = [2, 3, 6];

interface Capture {
  path: string;
  sensor: Sensor;
}

const all: Capture[] = (['pcap', 'pcapng'] as const)
  .flatMap((form) =>
    captures(form).map((path) => ({ path, type: form === 'pcap' ? PCAP : PCAPNG })),
  )
  .map(({ path, type }, index) => ({ path, sensor: new Sensor(uuidOf(index), type) }));

/** Sends a capture as an operator would, with the gateway's certificate verified. */
async function stream(gateway: Gateway, { path, sensor }: Capture): Promise<void> {
  const to = `127.0.0.1:${gateway.tlsPort}`;
  const args = ['client', '-c', sensor.clientDirectory(), '--to', to, '--ca', gateway.certFile];
  const { code, stderr } = await d4gw([...args, '--input', path, '--once']);
  assert.equal(code, 0, `${basename(path)}: ${stderr}`);
}

/** One capture's files once it is stored, in order. */
function piecesOf(gateway: Gateway, { sensor }: Capture): string[] {
  return gateway.files().filter((file) => file.startsWith(`${sensor.hex}/`));
}

/** The packet blocks of a pcapng file, of whatever byte order, in hexadecimal. */
function packetBlocks(bytes: Buffer): string[] {
  const blocks: string[] = [];
  let little = true;
  for (let at = 0; at < bytes.length; ) {
    if (bytes.readUInt32LE(at) === SECTION) little = bytes.readUInt32LE(at + 8) === BYTE_ORDER;
    const word = (offset: number) =>
      little ? bytes.readUInt32LE(at + offset) : bytes.readUInt32BE(at + offset);
    const end = at + word(4);
    if (PACKET_BLOCKS.includes(word(0))) blocks.push(bytes.toString('hex', at, end));
    at = end;
  }
  return blocks;
}

/**
 * Every piece stands alone, and the pieces together hold the packets that tcpdump reads in the
 * original. What could not be cut at packets is the end of the original, kept as raw.
 */
function checkPieces(gateway: Gateway, capture: Capture): { pieces: number; packets: number } {
  const original = packetsOf(capture.path);
  const pieces = piecesOf(gateway, capture);
  const ext = capture.sensor.type === PCAP ? '.cap' : '.pcapng';
  const cut = pieces.filter((file) => file.endsWith(ext));
  const raw = pieces.filter((file) => file.endsWith('.raw'));
  assert.equal(cut.length + raw.length, pieces.length, pieces.join(', '));
  const read = cut.map((file) => packetsOf(join(gateway.sensorsDir, file)));
  if (original.error === undefined) {
    assert.deepEqual(raw, []);
    for (const [index, { error }] of read.entries()) assert.equal(error, undefined, cut[index]);
  }
  if (original.error === undefined) {
    const packets = Buffer.concat(read.flatMap((piece) => piece.packets));
    assert.ok(packets.equals(Buffer.concat(original.packets)), 'packets, in order and number');
  }
  const bytes = readFileSync(capture.path);
  const rest = Buffer.concat(raw.map((file) => gateway.read(file)));
  assert.ok(bytes.subarray(bytes.length - rest.length).equals(rest), 'raw is the rest');
  if (capture.sensor.type === PCAPNG) {
    // tcpdump gives up where interfaces differ; their packets are compared as they stand.
    const expected = packetBlocks(bytes.subarray(0, bytes.length - rest.length));
    const kept = cut.flatMap((file) => packetBlocks(gateway.read(file)));
    assert.deepEqual(kept, expected);
  }
  return { pieces: pieces.length, packets: original.packets.length };
}

describe('captures in pieces', { skip: skipWithoutShared() }, async () => {
  if (skipWithoutShared()) return;
  const sinks = {
    disk: { kind: 'files', dir: './data/sensors', flushMs: 100, rotateBytes: ROTATE_BYTES },
  };
  const gateway = await Gateway.start(sharedSecret({ sinks }));
  let pieces = 0;
  let packets = 0;

  test('every capture goes through the client, over TLS', async () => {
    const waiting = all.values();
    const client = async () => {
      for (const capture of waiting) await stream(gateway, capture);
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
    const { sensors } = await untilLedger(
      gateway,
      (report) => report.sensors.length === all.length && report.sessions.length === 0,
      'every capture is counted',
    );
    for (const { path, sensor } of all) {
      const own = sensors.find((entry) => entry.sensor === sensor.uuid)!;
      assert.equal(own.received.bytes, readFileSync(path).length, path);
      assert.deepEqual(own.sinks[0]!.delivered, own.received, path);
    }
  });

  for (const capture of all) {
    test(basename(capture.path), () => {
      const counts = checkPieces(gateway, capture);
      pieces += counts.pieces;
      packets += counts.packets;
    });
  }

  test('and they were cut', () => {
    assert.ok(packets > 500, `${packets} packets`);
    assert.ok(pieces > 2 * all.length, `${pieces} pieces of ${all.length} captures`);
    assert.ok(gateway.files().every((file) => !file.endsWith('.part')));
  });
});
