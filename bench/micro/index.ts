import { describeMachine, machineLines } from '../machine.js';
import { run as copyBench } from './copy.js';
import { run as cutBench } from './cut.js';
import { run as hmacBench } from './hmac.js';
import { run as lz4Bench } from './lz4.js';
import { run as ringBench } from './ring.js';
import { run as scanBench } from './scan.js';

/**
 * The parts, each beside its baseline. Without arguments all of them, else those named:
 * `npm run bench -- scan hmac ring copy cut lz4`.
 */
const PARTS: Readonly<Record<string, () => Promise<unknown>>> = {
  scan: scanBench,
  hmac: hmacBench,
  ring: ringBench,
  copy: copyBench,
  cut: cutBench,
  lz4: lz4Bench,
};

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !Object.hasOwn(PARTS, name));
if (unknown !== undefined) {
  process.stderr.write(`bench: no part ${unknown}; there are ${Object.keys(PARTS).join(', ')}\n`);
  process.exit(2);
}
process.stdout.write(`${machineLines(describeMachine()).join('\n')}\n\n`);
for (const [name, run] of Object.entries(PARTS)) {
  if (wanted.length === 0 || wanted.includes(name)) await run();
}
