import assert from 'node:assert/strict';
import { cutterForType } from '../../src/sinks/files/cutters/choose.js';
import { FORMATS, type Format, makePayload } from '../load/payload.js';
import { type MicroTask, measure } from './measure.js';

const STREAM_BYTES = 1024 * 1024;
/** As frames bring the stream: cut anywhere. */
const CHUNK_BYTES = [1000, 16_384];

/** A stream walked by its type's cutter, chunk by chunk, as the files sink does. */
function walkTask(format: Format, chunkBytes: number): MicroTask {
  const { type, prologue, cycle } = makePayload(format, STREAM_BYTES);
  const stream = Buffer.concat([prologue, cycle]);
  let boundary = 0;
  return {
    name: `cutter, chunks of ${chunkBytes} B`,
    frames: Math.ceil(stream.length / chunkBytes),
    bytes: stream.length,
    work: () => {
      const cutter = cutterForType(type);
      let at = cutter.walk(stream, 0, stream.length, 0);
      for (let end = chunkBytes; end < stream.length + chunkBytes; end += chunkBytes) {
        const to = Math.min(end, stream.length);
        at = cutter.walk(stream, at, to, Number.MAX_SAFE_INTEGER);
      }
      boundary = cutter.boundary;
    },
    check: () => assert.equal(boundary, stream.length),
  };
}

/** The plain way through lines: split them, keep the rest. */
function splitTask(chunkBytes: number): MicroTask {
  const { cycle } = makePayload('jsonl', STREAM_BYTES);
  const text = cycle.toString('latin1');
  let lines = 0;
  return {
    name: `split('\\n'), chunks of ${chunkBytes} B`,
    frames: Math.ceil(cycle.length / chunkBytes),
    bytes: cycle.length,
    work: () => {
      lines = 0;
      let rest = '';
      for (let at = 0; at < cycle.length; at += chunkBytes) {
        const parts = (rest + cycle.toString('latin1', at, at + chunkBytes)).split('\n');
        rest = parts.pop() ?? '';
        lines += parts.length;
      }
    },
    check: () => assert.equal(lines, text.split('\n').length - 1),
  };
}

/** Finding record boundaries in pcap and in lines. */
export async function run(): Promise<void> {
  for (const format of FORMATS) {
    const tasks = CHUNK_BYTES.map((chunkBytes) => walkTask(format, chunkBytes));
    if (format === 'jsonl') tasks.push(...CHUNK_BYTES.map(splitTask));
    await measure(`cut ${format}, 1 MiB of stream`, tasks);
  }
}
